"""Images without a registry: an archive that ``ctr images import`` takes, packed from folders."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_ARCHITECTURE: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def layer(folder: Path, *, at: str = "", without: Sequence[str] = ()) -> bytes:
    """Return a layer of everything below a folder, put below ``at``; all of it root's."""

    def entry(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if any(info.name == name or info.name.startswith(f"{name}/") for name in without):
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=str(Path(at, path.name)), filter=entry)
    return buffer.getvalue()


def pack(
    archive: Path, name: str, layers: Sequence[bytes], *, entrypoint: Sequence[str], env: Sequence[str] = ()
) -> None:
    """Write an image archive, in the format of ``docker save``."""
    digests = [hashlib.sha256(content).hexdigest() for content in layers]
    configuration = {
        "architecture": _ARCHITECTURE[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", *env]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created_by": "tests"} for _ in layers],
    }
    description = json.dumps(configuration).encode()
    about = f"{hashlib.sha256(description).hexdigest()}.json"
    paths = [f"{digest}/layer.tar" for digest in digests]
    manifest = json.dumps([{"Config": about, "RepoTags": [name], "Layers": paths}]).encode()
    with tarfile.open(archive, "w") as tar:
        for path, content in [
            *zip(paths, layers, strict=True),
            (about, description),
            ("manifest.json", manifest),
        ]:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
