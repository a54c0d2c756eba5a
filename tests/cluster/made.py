"""What the cluster is made of, each made once and kept below ``~/.cache``: binaries and images."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from ..support.build import ROOT
from ..support.needs import missing, tool
from . import image

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mirrord-tests"
HERE: Final = Path(__file__).parent
AGENT_IMAGE: Final = os.environ.get("MIRRORD_TEST_AGENT_IMAGE", "localhost/mirrord-agent:test")
DATABASES_IMAGE: Final = os.environ.get("MIRRORD_TEST_DATABASES_IMAGE", "localhost/databases:test")
_VERSION: Final = "v1.34.4"
_COREDNS: Final = "github.com/coredns/coredns@v1.15.0"
_SUITE: Final = "bookworm"
_MIRROR: Final = "http://deb.debian.org/debian"
_BASE_IMAGE: Final = "localhost/base:test"


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


def agent() -> Path:
    """Return the archive of the agent's image, built from Dockerfile.agent unless nothing has changed."""
    place = ROOT / ".build" / f"agent-{_agent_digest()}.tar"
    place.parent.mkdir(exist_ok=True)
    with _locked(place.parent / "agent.lock"):
        if not place.exists():
            for older in place.parent.glob("agent-*.tar"):
                older.unlink()
            _build_agent(place)
    return place


def _agent_digest() -> str:
    digest = hashlib.sha256(_SUITE.encode())
    sources = sorted((ROOT / "agent").rglob("*.py"))
    for path in (ROOT / "Dockerfile.agent", ROOT / "requirements-dev.lock", *sources):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _build_agent(archive: Path) -> None:
    base = _kept(f"base-{_SUITE}", _base) / "base.tar"
    with tempfile.TemporaryDirectory(prefix="buildah-") as folder:
        buildah = [tool("buildah"), f"--root={folder}/root", f"--runroot={folder}/run"]
        container = _run([*buildah, "from", "scratch"]).strip()
        _run([*buildah, "add", "--quiet", container, str(base), "/"])
        _run([*buildah, "config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container])
        _run([*buildah, "commit", "--quiet", "--rm", container, _BASE_IMAGE])
        options = ["--isolation=chroot", "--network=host", "--volume=/etc/ssl/certs:/etc/ssl/certs:ro"]
        # where packages come from is this machine's business
        options += [f"--env={name}" for name in os.environ if name.startswith("PIP_")]
        options += [f"--build-arg=BASE={_BASE_IMAGE}", f"--tag={AGENT_IMAGE}", "--file=Dockerfile.agent"]
        _run([*buildah, "build", "--quiet", *options, "."], cwd=ROOT)
        part = archive.with_suffix(".part")
        part.unlink(missing_ok=True)
        _run([*buildah, "push", "--quiet", AGENT_IMAGE, f"docker-archive:{part}:{AGENT_IMAGE}"])
    part.rename(archive)


def databases() -> Path:
    """Return the archive of an image that has PostgreSQL and Redis."""
    return _kept(f"databases-{_SUITE}", _pack_databases) / "databases.tar"


def _pack_databases(folder: Path) -> None:
    # what compiles queries is larger than the rest, and is not wanted
    tar = _debootstrap(
        folder, "postgresql,redis-server", without=("usr/lib/*/libLLVM*", "var/lib/postgresql")
    )
    image.pack(folder / "databases.tar", DATABASES_IMAGE, [tar.read_bytes()], entrypoint=[])
    tar.unlink()


def _base(folder: Path) -> None:
    """Make the base: a small Debian with Python and pip."""
    _debootstrap(folder, "python3,python3-pip,ca-certificates").rename(folder / "base.tar")


def _debootstrap(folder: Path, packages: str, *, without: Sequence[str] = ()) -> Path:
    """Return the tar of a small Debian with these packages."""
    root, tar = folder / "root", folder / "root.tar"
    line = [tool("debootstrap"), "--variant=minbase", f"--include={packages}", _SUITE, str(root), _MIRROR]
    _run(line)
    # device files among them: every container gets its own
    left_out = ("dev/*", "var/cache", "var/lib/apt/lists", "usr/share/doc", *without)
    _run(["tar", "-C", str(root), *(f"--exclude=./{name}" for name in left_out), "-cf", str(tar), "."])
    shutil.rmtree(root)
    return tar


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


def _run(line: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Return what a command prints; fail if it fails."""
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(line)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}", pytrace=False)
    return done.stdout


def check_machine() -> None:
    """Skip where this machine cannot run a node; fail on CI if that could have been installed."""
    if os.geteuid() != 0:
        pytest.skip("a cluster of our own takes root")
    if not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("a cluster of our own takes a writable /sys/fs/cgroup")
    for name in ("containerd", "ctr", "runc", "iptables", "ip", "openssl", "unshare", "nsenter"):
        tool(name)
    if not Path("/usr/lib/cni/bridge").exists():
        missing("the package containernetworking-plugins")
