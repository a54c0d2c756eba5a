"""Which argument of which call is shown how."""

import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from mirrord_seccomp.syscalls import Kind
from ptrace.ctypes_tools import uint2int  # type: ignore[import-untyped]
from ptrace.signames import signalName  # type: ignore[import-untyped]

from mirrord.tracer.record import CallRecord
from mirrord.tracer.text import addresses, files, flags
from mirrord.tracer.text.memory import Memory, payload, pointer, quoted
from mirrord.tracer.text.prototypes import Argument

Show = Callable[[CallRecord, Memory, int], str]
"""Returns the text of an argument: of which call, what is known of its memory, the register."""

_AT_FDCWD: Final = -100
_INT: Final = 0xFFFFFFFF
_POINTER: Final = struct.Struct("=Q")
_MOST_WORDS: Final = 32


def show(call: str, argument: Argument) -> Show:
    """Return how an argument is shown."""
    special = _BY_CALL.get((call, argument.name)) or _BY_NAME.get(argument.name)
    return special or _BY_KIND.get(argument.kind) or partial(_number, argument.type)


def _number(type_: str, _: CallRecord, __: Memory, value: int) -> str:
    if type_.endswith("*"):
        return pointer(value)
    if type_ in ("size_t", "unsigned long", "unsigned long long", "loff_t"):
        return str(value)
    return str(uint2int(value & _INT))


def _text(_: CallRecord, memory: Memory, value: int) -> str:
    text = memory.string(value) if value else None
    return pointer(value) if text is None else quoted(text)


def _directory(_: CallRecord, __: Memory, value: int) -> str:
    number = uint2int(value & _INT)
    return "AT_FDCWD" if number == _AT_FDCWD else str(number)


def _unsigned(_: CallRecord, __: Memory, value: int) -> str:
    return str(value)


def _count(_: CallRecord, __: Memory, value: int) -> str:
    return str(uint2int(value & _INT))


def _pointer(_: CallRecord, __: Memory, value: int) -> str:
    return pointer(value)


def _plain(text: Callable[[int], str]) -> Show:
    return lambda _, __, value: text(value & _INT)


def _bits(names: flags.Names) -> Show:
    return lambda _, __, value: flags.bits(value & _INT, names)


def _named(names: dict[int, str]) -> Show:
    return lambda _, __, value: names.get(value & _INT, str(value & _INT))


def _mode_if_created(position: int) -> Show:
    """Show the mode of an open(2) that may create a file; others have none."""

    def text(record: CallRecord, _: Memory, value: int) -> str:
        wanted = record.args[position]
        return flags.mode(value & 0o7777777) if wanted & 0o100 or wanted & 0o20000000 else ""

    return text


def _written(show_: Callable[[bytes], str]) -> Show:
    """Show what was put there, and the pointer where nobody knows."""

    def text(record: CallRecord, memory: Memory, value: int) -> str:
        data = memory.at(value, 512, written=True) if record.filled else None
        return pointer(value) if data is None else show_(data)

    return text


def _link(record: CallRecord, memory: Memory, value: int) -> str:
    if not record.filled:
        return pointer(value)
    return payload(memory.at(value, 4096, written=True), record.result, value)


def _current(record: CallRecord, memory: Memory, value: int) -> str:
    """Show the current directory that the program got; getcwd(2) counts its NUL."""
    data = memory.at(value, 4096, written=True) if record.filled else None
    return pointer(value) if data is None else quoted(data.partition(b"\0")[0])


def _how(_: CallRecord, memory: Memory, value: int) -> str:
    data = memory.at(value, 24)
    return pointer(value) if data is None or len(data) < 24 else files.how(data)


def _sockaddr(position: int) -> Show:
    """Show an address that the program gives, whose size is the argument at ``position``."""

    def text(record: CallRecord, memory: Memory, value: int) -> str:
        size = record.args[position] & _INT
        data = memory.at(value, size) if value and size else None
        return pointer(value) if data is None else addresses.sockaddr(data)

    return text


def _reported(position: int) -> Show:
    """Show an address that the program got."""

    def text(record: CallRecord, memory: Memory, value: int) -> str:
        data = memory.at(value, 128, written=True) if record.filled else None
        return pointer(value) if data is None else addresses.sockaddr(data)

    return text


def _length(record: CallRecord, memory: Memory, value: int) -> str:
    """Show the room that there was for something, and what it took."""
    before, after = memory.number(value), memory.number(value, written=True)
    if not value or before is None:
        return pointer(value)
    return f"[{before}]" if after in (None, before) else f"[{before} => {after}]"


def _option(record: CallRecord, memory: Memory, value: int) -> str:
    number = memory.number(value, written=True)
    return pointer(value) if number is None else f"[{number}]"


def _sent(record: CallRecord, memory: Memory, value: int) -> str:
    return payload(memory.at(value, 64), record.args[2], value)


def _received(record: CallRecord, memory: Memory, value: int) -> str:
    if not record.filled:
        return pointer(value)
    return payload(memory.at(value, 64, written=True), record.result, value)


def _message(record: CallRecord, memory: Memory, value: int) -> str:
    return addresses.message(memory, value, written=False)


def _message_received(record: CallRecord, memory: Memory, value: int) -> str:
    if record.failed:
        size = memory.number(value + 8)
        return pointer(value) if size is None else f"{{msg_namelen={size}}}"
    if not record.filled:
        return pointer(value)
    return addresses.message(memory, value, written=True)


def _messages(record: CallRecord, memory: Memory, value: int) -> str:
    return addresses.messages(memory, value, record.args[2] & _INT, written=False, done=max(record.result, 0))


def _messages_received(record: CallRecord, memory: Memory, value: int) -> str:
    if not record.filled:
        return pointer(value)
    return addresses.messages(memory, value, record.result, written=True, done=record.result)


def _words(record: CallRecord, memory: Memory, value: int) -> str:
    found: list[str] = []
    for pointer_ in _array(memory, value):
        text = memory.string(pointer_)
        found.append(pointer(pointer_) if text is None else quoted(text))
        if len(found) == _MOST_WORDS:
            found.append("...")
            break
    return f"[{', '.join(found)}]" if value else "NULL"


def _variables(record: CallRecord, memory: Memory, value: int) -> str:
    count = len(_array(memory, value))
    return f"{pointer(value)} /* {count} var{'s' * (count != 1)} */" if value else "NULL"


def _array(memory: Memory, address: int) -> list[int]:
    found: list[int] = []
    while address and (raw := memory.at(address, 8)) is not None and len(raw) == 8:
        number: int = _POINTER.unpack(raw)[0]
        if not number:
            break
        found.append(number)
        address += 8
    return found


def _clone_args(_: CallRecord, memory: Memory, value: int) -> str:
    """Show the flags of a ``struct clone_args`` (clone(2)); the rest is not read."""
    data = memory.at(value, 8)
    if data is None or len(data) < 8:
        return pointer(value)
    return f"{{flags={flags.bits(int.from_bytes(data, 'little'), flags.CLONE)}, ...}}"


def _signal(_: CallRecord, __: Memory, value: int) -> str:
    return str(signalName(value & _INT))


_BY_KIND: Final[dict[Kind, Show]] = {
    Kind.PATH: _text,
    Kind.STRING: _text,
    Kind.DIRFD: _directory,
    Kind.FD: _count,
    Kind.PID: _count,
    Kind.SIZE: _unsigned,
    Kind.OFFSET: _unsigned,
    Kind.MODE: _plain(flags.mode),
    Kind.POINTER: _pointer,
    Kind.SOCKADDR: _sockaddr(2),
    Kind.SIGNAL: _signal,
}
_BY_NAME: Final[dict[str, Show]] = {
    "statbuf": _written(files.stat_),
    "statxbuf": _written(files.statx),
}
_BY_CALL: Final[dict[tuple[str, str], Show]] = {
    ("open", "flags"): _plain(flags.open_flags),
    ("open", "mode"): _mode_if_created(1),
    ("openat", "flags"): _plain(flags.open_flags),
    ("openat", "mode"): _mode_if_created(2),
    ("openat2", "how"): _how,
    ("newfstatat", "flags"): _bits(flags.AT),
    ("statx", "flags"): _plain(flags.statx_flags),
    ("statx", "mask"): _bits(flags.STATX),
    ("access", "mode"): _plain(flags.access_mode),
    ("faccessat", "mode"): _plain(flags.access_mode),
    ("faccessat2", "mode"): _plain(flags.access_mode),
    ("faccessat2", "flags"): _bits(flags.AT_ACCESS),
    ("unlinkat", "flags"): _bits(flags.AT_UNLINK),
    ("renameat2", "flags"): _bits(flags.RENAME),
    ("linkat", "flags"): _bits(flags.AT),
    ("utimensat", "flags"): _bits(flags.AT),
    ("fchownat", "flags"): _bits(flags.AT),
    ("execveat", "flags"): _bits(flags.AT),
    ("clone3", "cl_args"): _clone_args,
    ("unshare", "flags"): _bits(flags.CLONE),
    ("setns", "nstype"): _bits(flags.CLONE),
    ("readlink", "buf"): _link,
    ("readlinkat", "buf"): _link,
    ("getcwd", "buf"): _current,
    ("uname", "buf"): _written(files.utsname),
    ("connect", "addrlen"): _count,
    ("bind", "addrlen"): _count,
    ("listen", "backlog"): _count,
    ("getsockname", "addr"): _reported(2),
    ("getsockname", "addrlen"): _length,
    ("getpeername", "addr"): _reported(2),
    ("getpeername", "addrlen"): _length,
    ("accept", "addr"): _reported(2),
    ("accept", "addrlen"): _length,
    ("accept4", "addr"): _reported(2),
    ("accept4", "addrlen"): _length,
    ("accept4", "flags"): _bits(flags.SOCKET),
    ("getsockopt", "level"): _named(flags.LEVELS),
    ("getsockopt", "optname"): _named(flags.OPTIONS),
    ("getsockopt", "optval"): _option,
    ("getsockopt", "optlen"): _length,
    ("sendto", "buf"): _sent,
    ("sendto", "flags"): _bits(flags.MESSAGE),
    ("sendto", "dest_addr"): _sockaddr(5),
    ("sendto", "addrlen"): _count,
    ("sendmsg", "msg"): _message,
    ("sendmsg", "flags"): _bits(flags.MESSAGE),
    ("sendmmsg", "msgvec"): _messages,
    ("sendmmsg", "flags"): _bits(flags.MESSAGE),
    ("recvfrom", "buf"): _received,
    ("recvfrom", "flags"): _bits(flags.MESSAGE),
    ("recvfrom", "src_addr"): _reported(5),
    ("recvfrom", "addrlen"): _length,
    ("recvmsg", "msg"): _message_received,
    ("recvmsg", "flags"): _bits(flags.MESSAGE),
    ("recvmmsg", "msgvec"): _messages_received,
    ("recvmmsg", "flags"): _bits(flags.MESSAGE),
    ("execve", "argv"): _words,
    ("execve", "envp"): _variables,
    ("execveat", "argv"): _words,
    ("execveat", "envp"): _variables,
}
