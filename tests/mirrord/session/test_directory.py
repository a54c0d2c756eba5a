import os
from pathlib import Path

import pytest

from mirrord.session.directory import SessionDirectory, base


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


def test_what_was_made_is_known_to_whoever_is_left(tmp_path: Path) -> None:
    directory = SessionDirectory("1", str(tmp_path))
    assert directory.made() == []
    for job in ("prod/one", "agents/two"):
        directory.note(job)
    assert SessionDirectory("1", str(tmp_path)).made() == ["prod/one", "agents/two"]
