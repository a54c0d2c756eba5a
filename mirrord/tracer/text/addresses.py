"""Socket addresses and messages, as strace(1) writes them."""

import socket
import struct
from typing import Final

from mirrord.tracer.text.flags import MESSAGE, bits
from mirrord.tracer.text.memory import Memory, payload, pointer, quoted

_PORT: Final = struct.Struct("!H")
_IN6: Final = struct.Struct("!HI16s")
_NETLINK: Final = struct.Struct("=2xII")
_MSGHDR: Final = struct.Struct("=QI4xQQQQi4x")
_MSG_LEN: Final = struct.Struct("=I")
_IOVEC: Final = struct.Struct("=QQ")
_SCOPE: Final = struct.Struct("=I")
MMSGHDR: Final = 64


def sockaddr(data: bytes) -> str:
    """Return the address in a ``struct sockaddr``."""
    if len(data) < 2:
        return f"{{sa_data={quoted(data)}}}"
    family, rest = int.from_bytes(data[:2], "little"), data[2:]
    if family == socket.AF_INET and len(data) >= 16:
        port, host = _PORT.unpack_from(rest)[0], socket.inet_ntoa(rest[2:6])
        return f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("{host}")}}'
    if family == socket.AF_INET6 and len(data) >= 24:
        return _inet6(rest)
    if family == socket.AF_UNIX:
        return _unix(rest)
    if family == socket.AF_NETLINK and len(data) >= 12:
        pid, groups = _NETLINK.unpack_from(rest)
        return f"{{sa_family=AF_NETLINK, nl_pid={pid}, nl_groups={groups:08x}}}"
    return f"{{sa_family={_family(family)}, sa_data={quoted(rest)}}}"


def _family(number: int) -> str:
    try:
        return socket.AddressFamily(number).name
    except ValueError:
        return f"{number:#x}"


def _inet6(rest: bytes) -> str:
    port, flow, host = _IN6.unpack_from(rest)
    scope = _SCOPE.unpack_from(rest, _IN6.size)[0] if len(rest) >= _IN6.size + _SCOPE.size else 0
    address = socket.inet_ntop(socket.AF_INET6, host)
    return (
        f"{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_flowinfo=htonl({flow}), "
        f'inet_pton(AF_INET6, "{address}", &sin6_addr), sin6_scope_id={scope}}}'
    )


def _unix(path: bytes) -> str:
    if not path:
        return "{sa_family=AF_UNIX}"
    if path.startswith(b"\0"):
        return f"{{sa_family=AF_UNIX, sun_path=@{quoted(path[1:])}}}"
    name = path.partition(b"\0")[0]
    return f"{{sa_family=AF_UNIX, sun_path={quoted(name)}}}"


def message(memory: Memory, at: int, *, written: bool) -> str:
    """Return a ``struct msghdr``; ``written`` is whether it is looked at for what we put into it."""
    raw = memory.at(at, _MSGHDR.size)
    if raw is None or len(raw) < _MSGHDR.size:
        return pointer(at)
    name, name_size, vectors, count, control, control_size, flags = _MSGHDR.unpack(raw)
    size_text = str(name_size)
    if written:
        after = memory.number(at + 8, written=True)
        size_text = size_text if after in (None, name_size) else f"{name_size} => {after}"
        control_size = _now(memory, at + 40, 8, control_size)
        flags = _now(memory, at + 48, 4, flags)
    address = memory.at(name, 128, written=written) if name else None
    name_text = pointer(name) if address is None else sockaddr(address[:name_size])
    control_text = f"msg_control={pointer(control)}, " if control and control_size else ""
    return (
        f"{{msg_name={name_text}, msg_namelen={size_text}, "
        f"msg_iov={_vectors(memory, vectors, count, written)}, msg_iovlen={count}, "
        f"{control_text}msg_controllen={control_size}, msg_flags={bits(flags & 0xFFFFFFFF, MESSAGE)}}}"
    )


def _now(memory: Memory, address: int, size: int, before: int) -> int:
    """Return a number that may have been written over."""
    data = memory.at(address, size, written=True)
    return before if data is None else int.from_bytes(data, "little")


def messages(memory: Memory, at: int, count: int, *, written: bool, done: int) -> str:
    """Return an array of ``struct mmsghdr``, of which ``done`` have a length."""
    parts = []
    for index in range(count):
        text = message(memory, at + index * MMSGHDR, written=written)
        if not text.startswith("{"):
            return pointer(at)
        length = memory.number(at + index * MMSGHDR + _MSGHDR.size, written=True) if index < done else None
        parts.append(f"{{msg_hdr={text}" + (f", msg_len={length}}}" if length is not None else "}"))
    return f"[{', '.join(parts)}]"


def _vectors(memory: Memory, at: int, count: int, written: bool) -> str:
    raw = memory.at(at, count * _IOVEC.size) if count else b""
    if raw is None or len(raw) < count * _IOVEC.size:
        return pointer(at)
    parts = [
        f"{{iov_base={payload(memory.at(base, 64, written=written), size, base)}, iov_len={size}}}"
        for base, size in _IOVEC.iter_unpack(raw)
    ]
    return f"[{', '.join(parts)}]"
