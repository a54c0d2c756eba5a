"""Why a call went where it went: by the session's own rules, asked again where it is shown."""

import os
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from mirrord_seccomp.syscalls import Kind

from mirrord.config.paths import Side as PathSide
from mirrord.feed.models import Note, Rules
from mirrord.link.addresses import DNS_PORT, Peer, family, parse
from mirrord.link.names import KnownNames
from mirrord.trace.event import Plane, Side
from mirrord.tracer.record import Answer, CallRecord
from mirrord.tracer.text.memory import Memory
from mirrord.tracer.text.prototypes import Prototype, prototype

_MESSAGES: Final = frozenset({"sendmsg", "sendmmsg"})
_ADDRESS: Final = {"connect": (1, 2), "bind": (1, 2), "sendto": (4, 5)}
"""Which arguments are an address and its size."""
_INCOMING: Final = frozenset({"bind", "listen", "accept", "accept4"})
_PROCESS: Final = frozenset({"execve", "execveat", "unshare", "setns", "chroot", "pivot_root"})
_NAMES: Final = frozenset({"uname", "sethostname"})
_SOCKETS: Final = frozenset(
    {
        *("connect", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg"),
        *("getsockname", "getpeername", "getsockopt", "socket", "shutdown"),
    }
)
_OPENING: Final = {"open": 1, "openat": 2}
"""Where the flags of an open are."""
_CHANGING: Final = frozenset(
    {
        *("creat", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2"),
        *("link", "linkat", "symlink", "symlinkat", "truncate", "chmod", "fchmodat", "chown", "lchown"),
        *("fchownat", "utime", "utimes", "utimensat", "mknod", "mknodat", "setxattr", "lsetxattr"),
        *("removexattr", "lremovexattr"),
    }
)
_SIDES: Final[dict[PathSide, Side]] = {
    PathSide.LOCAL: "local",
    PathSide.REMOTE: "remote",
    PathSide.REMOTE_READ_WRITE: "remote",
    PathSide.NOT_FOUND: "absent",
}
_NO_TARGET: Final = "there is no target: everything is local"


class Why(NamedTuple):
    """Where a call went, and by which rule."""

    plane: Plane
    side: Side
    rule: str


class Explainer:
    """Asks the rules of one session."""

    def __init__(self, rules: Rules, *, target: bool) -> None:
        self._target: Final = target
        self._paths: Final = rules.paths()
        self._outgoing: Final = rules.outgoing()
        self._dns: Final = rules.dns()
        self._names: Final = KnownNames()

    def learn(self, note: Note) -> None:
        """Take the names that addresses have from now on."""
        if note.packet:
            self._names.learn(bytes.fromhex(note.packet))

    def why(self, record: CallRecord, memory: Memory) -> Why:
        """Return where a call went and why."""
        known = prototype(record.number)
        plane = plane_of(known.name)
        went: Side = "remote" if record.ours or record.held else "local"
        if not self._target:
            return Why(self._plane(plane, known.name, record, memory), "local", _NO_TARGET)
        if plane == "process":
            side: Side = "absent" if record.held and record.answer is Answer.FAILED else "local"
            return Why(plane, side, _OTHERS[plane])
        explain = self._EXPLAIN.get(plane)
        return (
            Why(plane, went, _OTHERS[plane])
            if explain is None
            else explain(self, known, record, memory, went)
        )

    def _plane(self, plane: Plane, name: str, record: CallRecord, memory: Memory) -> Plane:
        peer = _peer(name, record, memory)
        return "names" if peer is not None and peer.port == DNS_PORT else plane

    def _file(self, known: Prototype, record: CallRecord, memory: Memory, went: Side) -> Why:
        path = _path(known, record, memory)
        if path is None:
            return Why("files", "local", "the path cannot be read")
        if not path.startswith(b"/"):
            where = "it is relative to a directory of the target" if went == "remote" else "it is relative"
            return Why("files", went, where)
        decision = self._paths.decide(path, write=_writes(known.name, record, memory))
        side = _SIDES[decision.side]
        if side != "local" and went == "local":
            return Why("files", "local", f"its process is left to the kernel, though {decision.rule}")
        return Why("files", side, decision.rule)

    def _socket(self, known: Prototype, record: CallRecord, memory: Memory, went: Side) -> Why:
        address = _sockaddr(known.name, record, memory)
        peer = parse(address) if address is not None else None
        if peer is None:
            kind = family(address) if address is not None else None
            return Why(plane_of(known.name), went, _UNADDRESSED.get(kind, _OTHERS["outgoing"]))
        if known.name == "bind":
            return Why("incoming", went, _OTHERS["incoming"])
        if peer.port == DNS_PORT:
            state = (
                "names are resolved in the target" if self._dns.enabled else "`feature.network.dns` is off"
            )
            return Why("names", went, state)
        return Why("outgoing", went, self._destination(known.name, peer, went))

    def _destination(self, name: str, peer: Peer, went: Side) -> str:
        names = self._names.of(peer.host)
        stream = self._outgoing.decide("tcp", peer.host, peer.port, names)
        datagram = self._outgoing.decide("udp", peer.host, peer.port, names)
        protocol = "udp" if name != "connect" or stream != (went == "remote") else "tcp"
        if (datagram if protocol == "udp" else stream) and went == "local":
            return "the program itself listens there, or no address of that kind can be reached"
        return self._outgoing.why("udp" if protocol == "udp" else "tcp", peer.host, peer.port, names)

    _EXPLAIN: Final[dict[Plane, Callable[["Explainer", Prototype, CallRecord, Memory, Side], Why]]] = {
        "files": _file,
        "outgoing": _socket,
        "incoming": _socket,
    }


_OTHERS: Final[dict[Plane, str]] = {
    "files": "its rule",
    "outgoing": "what is known of the socket decides",
    "incoming": "the program listens here; `feature.network.incoming` says what reaches it",
    "names": "`feature.hostname` is on",
    "process": "programs run on this machine",
}
_UNADDRESSED: Final[dict[int | None, str]] = {
    socket.AF_UNIX: "by `feature.network.outgoing.unix_streams`, and name daemons are refused",
    socket.AF_UNSPEC: "it takes the socket's peer away",
    socket.AF_NETLINK: "it speaks to this machine's kernel",
}


def plane_of(name: str) -> Plane:
    """Return the plane that a call belongs to."""
    if name in _PROCESS:
        return "process"
    if name in _INCOMING:
        return "incoming"
    if name in _SOCKETS:
        return "outgoing"
    return "names" if name in _NAMES else "files"


def _path(known: Prototype, record: CallRecord, memory: Memory) -> bytes | None:
    for value, argument in zip(record.args, known.arguments, strict=False):
        if argument.kind is Kind.PATH:
            return memory.string(value)
    return None


def _writes(name: str, record: CallRecord, memory: Memory) -> bool:
    if name in _OPENING:
        flags = record.args[_OPENING[name]]
    elif name == "openat2":
        flags = memory.number(record.args[2]) or 0
    else:
        return name in _CHANGING
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _sockaddr(name: str, record: CallRecord, memory: Memory) -> bytes | None:
    if name in _ADDRESS:
        at, size = (record.args[index] for index in _ADDRESS[name])
        return memory.at(at, size & 0xFFFFFFFF) if at else None
    if name in _MESSAGES:
        header = memory.at(record.args[1], 12)
        if header is None or len(header) < 12:
            return None
        at, size = int.from_bytes(header[:8], "little"), int.from_bytes(header[8:], "little")
        return memory.at(at, size) if at else None
    return None


def _peer(name: str, record: CallRecord, memory: Memory) -> Peer | None:
    address = _sockaddr(name, record, memory)
    return parse(address) if address is not None else None
