"""The user namespace and the capabilities that come with it, without any privilege on the machine (user_namespaces(7))."""

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from mirrord.errors import TargetError
from mirrord.targets.sandbox import kernel
from mirrord.targets.sandbox.contract import USER_ID

_PR_SET_PDEATHSIG: Final = 1
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


class _Header(ctypes.Structure):
    """``struct __user_cap_header_struct`` (capset(2))."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """``struct __user_cap_data_struct``: 32 capabilities of each set."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable"))


def enter_user_namespace() -> None:
    """Become user 1000 with every capability, in a user and a mount namespace of our own; raise TargetError."""
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
        # The kernel takes a group map from an ordinary user only after setgroups(2) is denied (user_namespaces(7)).
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{USER_ID} {group} 1")
        Path("/proc/self/uid_map").write_text(f"{USER_ID} {user} 1")
        _inherit_capabilities()
    except OSError as error:
        raise explained(error) from error


def explained(error: OSError) -> TargetError:
    """Turn the refusal of a namespace or a mount into a sentence that says what to enable."""
    problem = f"the sandbox needs user namespaces, which this machine does not allow ({error.strerror})"
    return TargetError(problem, remedy=_remedy(error.errno or 0))


def _remedy(number: int) -> str:
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "allow them: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "allow them: sysctl kernel.unprivileged_userns_clone=1"
    if number in (errno.ENOSPC, errno.EUSERS):
        return "allow more of them: sysctl user.max_user_namespaces=10000"
    if number in (errno.EINVAL, errno.ENOSYS):
        return "use a kernel that is built with CONFIG_USER_NS"
    return "allow them; in a container, let its seccomp profile permit unshare, clone3, setns and mount"


def _sysctl(name: str) -> str:
    path = Path("/proc/sys", name)
    return path.read_text().strip() if path.exists() else ""


def _last_capability() -> int:
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def _set_capabilities(*, inheritable: int, permitted: int) -> None:
    header = _Header(version=_CAPABILITY_VERSION_3)
    sets = (_Sets * 2)()
    for half in range(2):
        mask = (permitted >> 32 * half) & 0xFFFFFFFF
        sets[half] = _Sets(mask, mask, (inheritable >> 32 * half) & 0xFFFFFFFF)
    if _libc.capset(ctypes.byref(header), sets) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "capset")


def _inherit_capabilities() -> None:
    """Make all capabilities ambient: else the children, not being user 0, would lose them when they execute (capabilities(7))."""
    last = _last_capability()
    every = (1 << last + 1) - 1
    _set_capabilities(inheritable=every, permitted=every)
    for capability in range(last + 1):
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def drop_capabilities() -> None:
    """Give up every capability for good; a process that is not user 0 of its namespace gets none back by executing."""
    _set_capabilities(inheritable=0, permitted=0)


def die_with_parent(parent: int, number: int) -> None:
    """Have signal ``number`` sent to us when the thread that forked us ends; exit at once if it has.

    The kernel forgets this when a process gains privileges by executing; ambient capabilities are no gain (prctl(2)).
    """
    prctl(_PR_SET_PDEATHSIG, number)
    # 0: the parent is outside of our PID namespace, and cannot be told from none.
    if os.getppid() not in (parent, 0):
        os._exit(1)


def prctl(option: int, second: int, third: int = 0) -> None:
    """Call prctl(2); raise OSError."""
    if _libc.prctl(option, second, third, 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")
