import os
from pathlib import Path

import pytest

from mirrord.session.directory import base


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a directory to somebody else")
def test_a_runtime_directory_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of who has become root by su(1): they could exchange what root makes there."""
    monkeypatch.delenv("MIRRORD_FS_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert base() == str(tmp_path / "mirrord")
    os.chown(tmp_path, 65534, 65534)
    assert Path(base()).parent in (Path("/dev/shm"), Path("/tmp"))
