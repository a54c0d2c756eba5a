"""The pod's root directory: this machine's programs, read-only, and everything else of its own."""

import errno
import glob
import os
import stat
from typing import Final

from mirrord.errors import TargetError
from mirrord.targets.sandbox import linux

# Any directory does: it is hidden in the pod's mount namespace only, and nothing is taken from it.
_STAGE: Final = "/tmp"
# /nix: on NixOS all else is links into it.
_PROGRAMS: Final = ("/usr", "/bin", "/sbin", "/lib*", "/nix")
_SETTINGS: Final = (
    *(
        "alternatives",
        "bash.bashrc",
        "ca-certificates",
        "ca-certificates.conf",
        "crypto-policies",
        "gai.conf",
    ),
    *("host.conf", "inputrc", "java*", "ld-musl*", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime"),
    *("mime.types", "os-release", "pki", "protocols", "rpc", "services", "ssl", "terminfo", "timezone"),
)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _share(path: str, *, read_only: bool = True) -> None:
    """Have the pod see ``path`` as this machine has it; a link stays a link."""
    target = _STAGE + path
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(path), target)
        return
    if stat.S_ISDIR(mode):
        os.mkdir(target)
    else:
        _touch(target)
    tree = linux.clone_tree(path)
    if read_only:
        linux.make_read_only(tree)
    linux.attach_tree(tree, target)


def _share_all(directory: str, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(directory, pattern.lstrip("/")))):
            _share(path)


def _make_devices() -> None:
    for name in _DEVICES:
        _share(f"/dev/{name}", read_only=False)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{_STAGE}/dev/{name}")
    linux.mount("devpts", f"{_STAGE}/dev/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, _PTS_OPTIONS)
    linux.mount("shm", f"{_STAGE}/dev/shm", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")


_PTS_OPTIONS: Final = "newinstance,ptmxmode=0666,mode=620"


def _mount_proc() -> None:
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    try:
        linux.mount("proc", f"{_STAGE}/proc", "proc", flags)
    except PermissionError as error:
        # mount_namespaces(7): only where all of an existing /proc can be seen.
        raise TargetError(
            "the sandbox cannot have a /proc of its own, since parts of this machine's are covered",
            remedy="in a container, start that with --security-opt systempaths=unconfined",
        ) from error


def enter() -> None:
    """Make the pod's root directory and go there; the mount, PID and network namespaces are the pod's.

    Raises OSError, or TargetError where the kernel does not allow a new /proc.
    """
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("pod", _STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    for name in ("app", "dev", "dev/pts", "dev/shm", "etc", "proc", "run", "tmp", "var", "var/tmp"):
        os.mkdir(f"{_STAGE}/{name}")
    for name in ("tmp", "var/tmp"):
        os.chmod(f"{_STAGE}/{name}", 0o1777)
    os.symlink("../run", f"{_STAGE}/var/run")
    _share_all("/", _PROGRAMS)
    _share_all("/etc", _SETTINGS)
    _make_devices()
    _mount_proc()
    linux.change_root(_STAGE)


def explain(error: OSError) -> str:
    """Return what went wrong, naming the file if there is one."""
    reason = os.strerror(error.errno or errno.EIO).lower()
    return f"{error.filename}: {reason}" if error.filename else reason
