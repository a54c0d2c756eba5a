"""Bring a program under a session at its first instruction.

The parked process is seized, told to execute, and stopped at the exit of its ``execve``: the new image is in
place and has not run yet. There the filter is injected. For the notify engine its listener is taken, and from
then on the process runs free of ptrace, so that a debugger can have the slot; for the ptrace engine it stays
seized. Nothing is filtered in any process of ours.
"""

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mirrord_seccomp import load
from mirrord_seccomp.syscalls import Arch, current_arch, number

from mirrord.errors import KernelError, LaunchError, ProgramNotExecutable, ProgramNotFound
from mirrord.tracer.inject import Injector
from mirrord.tracer.parked import Parked
from mirrord.tracer.registers import LAYOUTS
from mirrord.tracer.sys import (
    PR_SET_NO_NEW_PRIVS,
    PTRACE_CONT,
    PTRACE_DETACH,
    PTRACE_EVENT_EXEC,
    PTRACE_GET_SYSCALL_INFO,
    PTRACE_O_EXITKILL,
    PTRACE_O_TRACECLONE,
    PTRACE_O_TRACEEXEC,
    PTRACE_O_TRACEFORK,
    PTRACE_O_TRACESECCOMP,
    PTRACE_O_TRACESYSGOOD,
    PTRACE_O_TRACEVFORK,
    PTRACE_SEIZE,
    PTRACE_SYSCALL,
    SYSCALL_STOP,
    WALL,
    pidfd_getfd,
    ptrace,
)

_CAP_SYS_ADMIN: Final = 21
_FILTER_FLAGS: Final = load.NEW_LISTENER | load.WAIT_KILLABLE_RECV | load.SPEC_ALLOW
_LAUNCH: Final = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL
_FOLLOW: Final = (
    _LAUNCH | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACESECCOMP
)
_SYSCALL_INFO_ARCH: Final = struct.Struct("=4xI80x")
"""The start of ``struct ptrace_syscall_info`` (include/uapi/linux/ptrace.h): operation, 3 bytes of padding,
audit architecture.
"""


def launch(parked: Parked, argv: Sequence[bytes], environment: Mapping[bytes, bytes], filter_: bytes) -> int:
    """Execute the program with the filter active from its first instruction; return the listener.

    Raises :exc:`ProgramNotFound`, :exc:`ProgramNotExecutable`, :exc:`KernelError`, :exc:`LaunchError`.
    """
    pid = parked.pid
    listener = _started(parked, argv, environment, _LAUNCH, lambda: _inject_listener(pid, filter_))
    ptrace(PTRACE_DETACH, pid)
    return listener


def launch_traced(
    parked: Parked, argv: Sequence[bytes], environment: Mapping[bytes, bytes], filter_: bytes
) -> None:
    """Execute the program likewise, and leave it stopped there: the calling thread is its tracer, and that of
    all its descendants, and they end when it does.

    Raises as :func:`launch`.
    """
    _started(parked, argv, environment, _FOLLOW, lambda: _inject_filter(parked.pid, filter_))


def _started(
    parked: Parked,
    argv: Sequence[bytes],
    environment: Mapping[bytes, bytes],
    options: int,
    inject: Callable[[], int],
) -> int:
    _seize(parked.pid, options)
    parked.execute(argv, environment)
    _run_to_exec(parked, argv[0])
    try:
        return inject()
    except BaseException:
        os.kill(parked.pid, signal.SIGKILL)
        os.waitpid(parked.pid, WALL)
        raise


def _seize(pid: int, options: int = _LAUNCH) -> None:
    try:
        ptrace(PTRACE_SEIZE, pid, 0, options)
    except PermissionError as error:
        raise LaunchError(
            "the kernel does not let mirrord trace the program's start",
            remedy="if a tracer follows mirrord itself (strace -f), run the tracer inside the session; "
            "else look at /proc/sys/kernel/yama/ptrace_scope, or at the container's seccomp profile: "
            "mirrord doctor tries each part",
        ) from error


def _run_to_exec(parked: Parked, name: bytes) -> None:
    """Let the process run to the exit stop of its ``execve``, handing on signals that come before."""
    request: int | None = None
    signal_ = 0
    while True:
        if request is not None:
            ptrace(request, parked.pid, 0, signal_)
        _, status = os.waitpid(parked.pid, WALL)
        if not os.WIFSTOPPED(status):
            raise _failed_exec(parked, name)
        if status >> 16 == PTRACE_EVENT_EXEC:
            # at the event the call is still in progress: registers set now would be overwritten
            request, signal_ = PTRACE_SYSCALL, 0
        elif os.WSTOPSIG(status) == SYSCALL_STOP:
            return
        else:
            request = request or PTRACE_CONT
            signal_ = 0 if status >> 16 else os.WSTOPSIG(status)


def _failed_exec(parked: Parked, name: bytes) -> LaunchError:
    program = os.fsdecode(name)
    code = parked.failure()
    if code == 0:
        return LaunchError(f"{program} was killed before its first instruction")
    if code in (errno.ENOENT, errno.ENOTDIR):
        if b"/" in name and os.path.exists(name):
            return ProgramNotExecutable(
                f"{program} names an interpreter that does not exist",
                remedy=f"look at it with: file {program}",
            )
        named = program or "without a name"
        return ProgramNotFound(f"there is no program {named}", remedy="give its path, or look at PATH")
    if code == errno.E2BIG:
        return ProgramNotExecutable(
            f"{program} cannot be executed: its arguments and environment are too large",
            remedy="leave variables out with --override-env-vars-exclude",
        )
    return ProgramNotExecutable(f"{program} cannot be executed: {os.strerror(code).lower()}")


def _inject_listener(pid: int, filter_: bytes) -> int:
    with _injector(pid) as injector:
        in_program = _inject(injector, filter_, _FILTER_FLAGS)
        listener = _take(pid, in_program)
        _must(injector.call(_number("close", current_arch()), in_program))
    return listener


def _inject_filter(pid: int, filter_: bytes) -> int:
    with _injector(pid) as injector:
        return _inject(injector, filter_, load.SPEC_ALLOW)


def _injector(pid: int) -> Injector:
    layout = LAYOUTS[current_arch()]
    _require_arch(pid, layout.arch)
    return Injector(pid, layout)


def _inject(injector: Injector, filter_: bytes, flags: int) -> int:
    """Have the program load the filter; return what seccomp(2) did."""
    arch, header = current_arch(), len(load.sock_fprog(0, 0))
    if not _may_filter_without_no_new_privs(injector.tid):
        _must(injector.call(_number("prctl", arch), PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    address = injector.scratch_address(header + len(filter_))
    injector.put(load.sock_fprog(len(filter_) // 8, address + header) + filter_)
    return _must(injector.call(_number("seccomp", arch), load.SET_MODE_FILTER, flags, address))


def _number(name: str, arch: Arch) -> int:
    found = number(name, arch)
    assert found is not None, name
    return found


def _take(pid: int, fd: int) -> int:
    pidfd = os.pidfd_open(pid)
    try:
        return pidfd_getfd(pidfd, fd)
    finally:
        os.close(pidfd)


def _must(result: int) -> int:
    if result >= 0:
        return result
    if -result == errno.EBUSY:
        raise LaunchError(
            "this process is already supervised by a seccomp listener, perhaps of another mirrord session or "
            "of the container that it runs in",
            remedy="run mirrord outside of it, or leave `--engine notify` out",
        )
    if -result == errno.EINVAL:
        raise KernelError(
            "this kernel lacks seccomp user notifications that signals do not interrupt",
            remedy="use Linux 5.19 or later, or leave `--engine notify` out; "
            "mirrord doctor tells what else is missing",
        )
    raise LaunchError(f"the kernel refused the system call filter: {os.strerror(-result).lower()}")


def _require_arch(pid: int, arch: Arch) -> None:
    """Refuse a program of another architecture: the injected numbers would be other calls there."""
    info = ctypes.create_string_buffer(_SYSCALL_INFO_ARCH.size)
    ptrace(PTRACE_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    if _SYSCALL_INFO_ARCH.unpack(info.raw)[0] != arch.audit:
        raise ProgramNotExecutable(
            "the program is of another architecture than this machine (32-bit?)",
            remedy="build it for this machine; a 32-bit program may be started by a 64-bit one, "
            "and then runs locally",
        )


def _may_filter_without_no_new_privs(pid: int) -> bool:
    """Tell whether the program has CAP_SYS_ADMIN: then setuid programs can go on working (seccomp(2))."""
    with open(f"/proc/{pid}/status", "rb") as status:
        capabilities = next(int(line[7:], 16) for line in status if line.startswith(b"CapEff:"))
    return bool(capabilities >> _CAP_SYS_ADMIN & 1)
