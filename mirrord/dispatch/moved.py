"""Calls on paths of this machine that a mapping has moved: made here, under the name that the rules say.

The kernel would act on the name that the program wrote, so it cannot run them. Whatever else such a call
points to in the program's memory is copied; other paths of it are named as they are seen from here.
"""

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mirrord_seccomp.syscalls import current_arch, number

from mirrord.syscall import Call, Return, Verdict

_XATTR_SIZE_MAX: Final = 65536
_STATFS: Final = 120
"""``sizeof(struct statfs)`` (include/uapi/asm-generic/statfs.h)."""

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_Argument = int | bytes


@dataclass(frozen=True, slots=True)
class Here:
    """A system call that is made here, and which of its arguments mean more than their number."""

    name: str
    text: int | None = None
    """What is a string other than a path."""
    block: int | None = None
    """What points to so many bytes, or is NULL."""
    size: int = 0
    size_at: int | None = None
    """Which argument is the size of the block, where that is not fixed."""
    mode: int | None = None
    """What is a mode that the umask applies to."""

    def make(
        self, call: Call, paths: Mapping[int, bytes], *, flags: Mapping[int, int] | None = None
    ) -> Verdict:
        """Make the call with other paths, and other ``flags``, by argument; raise OSError, Fault."""
        arguments: list[_Argument] = [*call.args]
        for at, value in (flags or {}).items():
            arguments[at] = value
        if self.text is not None:
            arguments[self.text] = call.string(call.args[self.text])
        if self.block is not None and (address := call.args[self.block]):
            arguments[self.block] = call.read(address, self._size(call))
        if self.mode is not None:
            arguments[self.mode] = call.args[self.mode] & ~umask(call)
        for at, path in paths.items():
            arguments[at] = path
        return Return(_run(self.name, *arguments))

    def _size(self, call: Call) -> int:
        # one byte more than there may be is E2BIG as well
        return self.size if self.size_at is None else min(call.args[self.size_at], _XATTR_SIZE_MAX + 1)


def umask(call: Call) -> int:
    """Return the umask of a thread: what is made for it obeys that, and ours (proc_pid_status(5))."""
    with open(b"/proc/%d/status" % call.tid, "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line[6:], 8)
    # a thread that is about to end has none
    return 0o777


def statfs(path: bytes) -> bytes:
    """Return the ``struct statfs`` of a path of this machine; raise OSError."""
    buffer = ctypes.create_string_buffer(_STATFS)
    _run("statfs", path, ctypes.addressof(buffer))
    return buffer.raw


def inotify_add_watch(instance: int, path: bytes, mask: int) -> int:
    """Watch a path of this machine; return the number of the watch, raise OSError (inotify_add_watch(2))."""
    return _run("inotify_add_watch", instance, path, mask)


def _run(name: str, *arguments: _Argument) -> int:
    wanted = number(name, current_arch())
    assert wanted is not None, name
    converted = [
        ctypes.c_char_p(item) if isinstance(item, bytes) else ctypes.c_ulong(item) for item in arguments
    ]
    result: int = _libc.syscall(ctypes.c_long(wanted), *converted)
    if result < 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))
    return result
