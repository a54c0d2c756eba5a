"""Whether a process can be attached to, found out without touching it; each refusal is one sentence."""

import errno
import os
import pwd
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from mirrord.errors import AttachError

_PF_KTHREAD: Final = 0x00200000
"""A flag of ``/proc/PID/stat`` (include/linux/sched.h)."""
_ELF_CLASS: Final = 4
_ELF_32: Final = 1
_STRICT: Final = 1
_CAP_SYS_PTRACE: Final = 19
_CAP_SYS_ADMIN: Final = 21
_YAMA: Final = "/proc/sys/kernel/yama/ptrace_scope"
_SCOPES: Final = {
    "1": "only a process's ancestors may trace it",
    "2": "only who has CAP_SYS_PTRACE may trace",
    "3": "nobody may trace until the machine is restarted",
}


@dataclass(frozen=True, slots=True)
class Status:
    """What ``/proc/PID/status`` and ``/proc/PID/stat`` tell (proc_pid_status(5))."""

    pid: int
    name: str
    state: str
    group: int
    parent: int
    tracer: int
    user: int
    seccomp: int
    capabilities: int
    is_kernel_thread: bool

    @classmethod
    def of(cls, pid: int) -> Self:
        """Look at a process; raise AttachError if there is none."""
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
                fields = dict(line.rstrip("\n").split(":", 1) for line in stream)
            with open(f"/proc/{pid}/stat", "rb") as stream_:
                flags = int(stream_.read().rpartition(b")")[2].split()[6])
        except (FileNotFoundError, ProcessLookupError) as error:
            raise AttachError(f"there is no process {pid}") from error
        return cls(
            pid=pid,
            name=fields["Name"].strip(),
            state=fields["State"].split()[0],
            group=int(fields["Tgid"]),
            parent=int(fields["PPid"]),
            tracer=int(fields["TracerPid"]),
            user=int(fields["Uid"].split()[1]),
            seccomp=int(fields.get("Seccomp", "0")),
            capabilities=int(fields["CapEff"], 16),
            is_kernel_thread=bool(flags & _PF_KTHREAD),
        )

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})"


def require(pid: int) -> None:
    """Raise AttachError for a process that cannot be brought under a session."""
    status = Status.of(pid)
    if status.group != pid:
        raise AttachError(
            f"{pid} is a thread of process {status.group} ({status.name})",
            remedy=f"attach to the whole process: mirrord attach {status.group}",
        )
    if pid in _ourselves():
        raise AttachError(
            f"{status} is mirrord itself, or runs mirrord: it would wait for its own answers",
            remedy="attach from another terminal",
        )
    if status.is_kernel_thread:
        raise AttachError(f"{status} is a kernel thread: it is no program, and makes no system calls")
    if status.state in "ZX":
        raise AttachError(
            f"{status} has ended: it is a zombie, for which its parent, process {status.parent}, has not "
            "waited yet"
        )
    _require_ours(status)
    _require_free(status)
    _require_same_place(status)
    _require_same_arch(status)


def _require_ours(status: Status) -> None:
    ours = Status.of(os.getpid())
    if ours.capabilities >> _CAP_SYS_PTRACE & 1 or status.user == os.geteuid():
        return
    raise AttachError(
        f"{status} belongs to another user, {_user(status.user)}",
        remedy="run mirrord attach as that user, or as root",
    )


def _require_free(status: Status) -> None:
    if (tracer := _tracer(status.pid)) is not None:
        raise AttachError(
            f"{status} is held by another tracer, {tracer}", remedy="let it detach, or end it, first"
        )
    if status.state == "T":
        raise is_stopped(status.pid)
    if status.seccomp == _STRICT:
        raise AttachError(f"{status} is in seccomp's strict mode, in which it can take no filter")


def _require_same_place(status: Status) -> None:
    for name, what in (("net", "network"), ("mnt", "mount")):
        if not _same(status, f"ns/{name}"):
            raise AttachError(
                f"{status} is in another {what} namespace, perhaps a container's",
                remedy="run mirrord attach inside of it",
            )
    if not _same(status, "root"):
        raise AttachError(
            f"{status} has another root directory (chroot)", remedy="run mirrord attach inside of it"
        )


def _same(status: Status, link: str) -> bool:
    here = os.stat(f"/proc/self/{link}")
    try:
        there = os.stat(f"/proc/{status.pid}/{link}")
    except PermissionError as error:
        raise AttachError(
            f"{status} hides itself from others of its user: it is setuid, or not dumpable",
            remedy="run mirrord attach as root",
        ) from error
    except (FileNotFoundError, ProcessLookupError) as error:
        raise AttachError(f"process {status.pid} has ended meanwhile") from error
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _require_same_arch(status: Status) -> None:
    try:
        with open(f"/proc/{status.pid}/exe", "rb") as executable:
            identity = executable.read(16)
    except OSError:
        # it may be executed, and not read: what it is shows when it is stopped
        return
    if len(identity) > _ELF_CLASS and identity[_ELF_CLASS] == _ELF_32:
        raise AttachError(
            f"{status} is a 32-bit program, whose system calls are others",
            remedy="build it for this machine",
        )


def is_stopped(pid: int) -> AttachError:
    """Return the refusal of a process in a group stop (SIGSTOP, Ctrl-Z)."""
    return AttachError(
        f"{Status.of(pid)} is stopped, as by Ctrl-Z", remedy=f"let it go on first: kill -CONT {pid}"
    )


def tracing_refused(pid: int) -> AttachError:
    """Return why the kernel does not let us trace a process."""
    status = Status.of(pid)
    if (tracer := _tracer(pid)) is not None:
        return AttachError(
            f"{status} is held by another tracer, {tracer}", remedy="let it detach, or end it, first"
        )
    scope = _scope()
    choices = "run mirrord attach as root, or start the program with mirrord exec"
    if scope in _SCOPES:
        lower = "sudo sysctl -w kernel.yama.ptrace_scope=0, or " if scope in "12" else ""
        return AttachError(
            f"the kernel does not let mirrord trace {status}: kernel.yama.ptrace_scope is {scope}, "
            f"{_SCOPES[scope]}",
            remedy=f"{lower}{choices}",
        )
    return AttachError(
        f"the kernel does not let mirrord trace {status}",
        remedy="look at kernel.yama.ptrace_scope, which should be 0, and at the seccomp profile of a "
        f"container; or {choices}",
    )


def is_ours_or_ended(tid: int) -> bool:
    """Tell whether the calling thread traces a thread, as it does what its tracees have made; one that has
    ended cannot be traced.
    """
    try:
        status = Status.of(tid)
    except AttachError:
        return True
    return status.state in "ZX" or status.tracer == threading.get_native_id()


def is_traced_by(tid: int, process: int) -> bool:
    """Tell whether a thread's tracer is a thread of that process."""
    tracer = tracer_of(tid)
    return tracer != 0 and os.path.exists(f"/proc/{process}/task/{tracer}")


def tracer_of(tid: int) -> int:
    """Return the number of the thread that traces a thread, 0 if none does or it has ended."""
    try:
        return Status.of(tid).tracer
    except AttachError:
        return 0


def may_filter_without_no_new_privs(pid: int) -> bool:
    """Tell whether the process has CAP_SYS_ADMIN: then setuid programs can go on working (seccomp(2))."""
    return bool(Status.of(pid).capabilities >> _CAP_SYS_ADMIN & 1)


def _tracer(pid: int) -> str | None:
    """Return who traces any thread of the process."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError as error:
        raise AttachError(f"process {pid} has ended meanwhile") from error
    for tid in threads:
        with suppress(AttachError):
            # else the thread, or the tracer, has ended meanwhile
            tracer = Status.of(int(tid)).tracer
            if tracer and tracer != os.getpid():
                return str(Status.of(tracer))
    return None


def _ourselves() -> set[int]:
    """Return this process and those above it."""
    found: set[int] = set()
    pid = os.getpid()
    while pid:
        found.add(pid)
        pid = Status.of(pid).parent
    return found


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"number {number}"


def _scope() -> str:
    try:
        with open(_YAMA) as stream:
            return stream.read().strip()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EACCES):
            return ""
        raise
