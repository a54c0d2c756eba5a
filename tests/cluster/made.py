"""What the cluster is made of, each made once and kept below ``~/.cache``: binaries and images."""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from ..support.build import ROOT
from ..support.needs import missing, tool
from . import image

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mirrord-tests"
HERE: Final = Path(__file__).parent
AGENT_IMAGE: Final = "localhost/mirrord-agent:test"
_VERSION: Final = "v1.34.4"
_COREDNS: Final = "github.com/coredns/coredns@v1.15.0"
_SUITE: Final = "bookworm"
_PYTHON: Final = "3.11"
"""That of the suite."""
_NOT_NEEDED: Final = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/cache",
    "var/lib/apt",
    "boot",
)
_DISTRIBUTION: Final = re.compile(r"[A-Za-z0-9._-]+")


def binaries() -> Path:
    """Return the folder of ``cluster`` and ``coredns``, built if they were not: a quarter of an hour."""
    digest = hashlib.sha256(_COREDNS.encode() + _VERSION.encode())
    for name in ("go.mod", "main.go"):
        digest.update((HERE / "node" / name).read_bytes())
    return _kept(f"binaries-{digest.hexdigest()[:16]}", _build)


def _build(folder: Path) -> None:
    go = tool("go")
    symbols = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = "-s -w " + " ".join(f"-X {symbol}.gitVersion={_VERSION}" for symbol in symbols)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -trimpath", "GOBIN": str(folder)}
    line = [go, "build", "-ldflags", flags, "-o", str(folder / "cluster"), "."]
    _run(line, cwd=HERE / "node", env=environment)
    _run([go, "install", _COREDNS], cwd=folder, env=environment)


def pause(archive: Path) -> None:
    """Pack the image of the process that holds a pod's namespaces."""
    with tempfile.TemporaryDirectory() as folder:
        _run([tool("gcc"), "-static", "-O2", "-s", "-o", f"{folder}/pause", str(HERE / "pause.c")])
        image.pack(archive, "localhost/pause:test", [image.layer(Path(folder))], entrypoint=["/pause"])


def agent(archive: Path) -> None:
    """Pack the agent's image: a base with Python, what the agent needs, and the agent as it is here."""
    base = _kept(f"base-{_SUITE}", _debootstrap) / "root"
    packages = _kept(f"packages-{_lock_digest()}", _install) / "app"
    source = ROOT / "agent"
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / "mirrord_agent", Path(folder, "mirrord_agent"), ignore=ignored)
        own = image.layer(Path(folder), at="app")
    image.pack(
        archive,
        AGENT_IMAGE,
        [image.layer(base, without=_NOT_NEEDED), image.layer(packages, at="app"), own],
        entrypoint=["python3", "-m", "mirrord_agent"],
        env=["PYTHONPATH=/app", "PYTHONUNBUFFERED=1"],
    )


def _debootstrap(folder: Path) -> None:
    line = [tool("debootstrap"), "--variant=minbase", "--include=python3", _SUITE, str(folder / "root")]
    _run([*line, "http://deb.debian.org/debian"])
    # device files, which a layer need not have: every container gets its own
    shutil.rmtree(folder / "root" / "dev")
    (folder / "root" / "dev").mkdir()


def _lock_digest() -> str:
    return hashlib.sha256((ROOT / "requirements-dev.lock").read_bytes()).hexdigest()[:16]


def _install(folder: Path) -> None:
    wanted = _closure("mirrord-agent") - {"mirrord-agent"}
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements-dev.lock").read_text())
    names = {_normal(match[0]): block for block in blocks if (match := _DISTRIBUTION.match(block))}
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(names[name] for name in sorted(wanted)) + "\n")
    pip = [str(ROOT / ".venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    options = ["--require-hashes", "--only-binary=:all:", "--no-compile", f"--python-version={_PYTHON}"]
    _run([*pip, *options, f"--target={folder / 'app'}", "-r", str(requirements)])


def _closure(name: str) -> set[str]:
    """Return a distribution and what it needs, all the way, as installed here."""
    found: set[str] = set()
    waiting = [_normal(name)]
    while waiting:
        if (one := waiting.pop()) in found:
            continue
        try:
            requires = importlib.metadata.requires(one) or ()
        except importlib.metadata.PackageNotFoundError:
            # of another platform or Python
            continue
        found.add(one)
        plain = [line for line in requires if "extra ==" not in line]
        waiting += [_normal(match[0]) for line in plain if (match := _DISTRIBUTION.match(line))]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, made beside its place, by one process at a time."""
    place = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / f"{name}.lock"):
        if not place.exists():
            temporary = Path(tempfile.mkdtemp(dir=CACHE))
            try:
                make(temporary)
                temporary.chmod(0o755)
                temporary.rename(place)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    return place


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(line: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(line)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}", pytrace=False)


def check_machine() -> None:
    """Skip, or fail on CI, where this machine cannot run a node."""
    if os.geteuid() != 0:
        missing("root, for a cluster of our own,")
    for name in ("containerd", "ctr", "runc", "iptables", "ip", "openssl", "unshare", "nsenter"):
        tool(name)
    if not Path("/usr/lib/cni/bridge").exists():
        missing("the package containernetworking-plugins")
    if not os.access("/sys/fs/cgroup", os.W_OK):
        missing("a writable /sys/fs/cgroup")
