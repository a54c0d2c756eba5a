"""Reads what strace(1), and ``mirrord trace --plain`` in its manner, have written."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (.*)\Z", re.DOTALL)
_UNFINISHED = re.compile(r"(\d+) +(\w+)\((.*) <(?:unfinished|pid changed to \d+) \.\.\.>\Z")
_SUPERSEDED = re.compile(r"(\d+) +\+\+\+ superseded by execve in pid (\d+) \+\+\+\Z")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)\Z")


@dataclass(frozen=True, slots=True)
class Traced:
    """One call as it was written."""

    tid: int
    name: str
    arguments: tuple[str, ...]
    result: str

    def __str__(self) -> str:
        return f"{self.tid} {self.name}({', '.join(self.arguments)}) = {self.result}"


def parse(text: str) -> Iterator[Traced]:
    """Return the calls in the order in which they ended, those in two parts joined.

    An execve(2) is its caller's, whose number is then its leader's.
    """
    begun: dict[str, str] = {}
    callers: dict[str, str] = {}
    for line in text.splitlines():
        if found := _UNFINISHED.match(line):
            begun[found[1]] = f"{found[2]}({found[3]}"
            continue
        if found := _SUPERSEDED.match(line):
            begun[found[1]] = begun.pop(found[2])
            callers[found[1]] = found[2]
            continue
        if (found := _RESUMED.match(line)) and found[1] in begun:
            caller = callers.pop(found[1], found[1])
            line = f"{caller} {begun.pop(found[1])}{found[2]}"
        if found := _LINE.match(line):
            yield Traced(int(found[1]), found[2], tuple(split(found[3])), found[4])


def split(text: str) -> Iterator[str]:
    """Return arguments: a comma between quotes or brackets divides none."""
    depth, start, quoted, escaped = 0, 0, False, False
    for at, character in enumerate(text):
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        else:
            depth += (character in "{[(") - (character in "}])")
            if character == "," and not depth:
                yield text[start:at].strip()
                start = at + 1
    if text:
        yield text[start:].strip()


_FILLED = {
    "stat": (1,),
    "lstat": (1,),
    "newfstatat": (2,),
    "statx": (4,),
    "readlink": (1,),
    "readlinkat": (2,),
    "uname": (0,),
    "getcwd": (0,),
    "statfs": (1,),
    "getsockname": (1, 2),
    "getpeername": (1, 2),
    "accept": (1, 2),
    "accept4": (1, 2),
    "getsockopt": (3, 4),
    "recvfrom": (1, 4, 5),
    "recvmsg": (1,),
    "recvmmsg": (1, 4),
    "sendmmsg": (1,),
    "getxattr": (2,),
    "lgetxattr": (2,),
    "listxattr": (1,),
    "llistxattr": (1,),
}
"""Arguments that the kernel fills: nobody knows with what who only sees the call begin."""
_AS_POINTERS: Final = frozenset({"statfs", "getxattr", "lgetxattr", "listxattr", "llistxattr"})
"""Calls of which we never show what was filled."""
_DIFFERS: Final = (
    (re.compile("0x[0-9a-f]{6,}"), "0x"),
    (re.compile(r"/\* \d+ vars? \*/"), "/* vars */"),
    (re.compile(r"htons\(\d{5}\)"), "htons(any)"),
)
"""What is different in each run of a program: addresses, how many variables it has, and ports of the kernel's
choice, all of five digits (ip_local_port_range begins at 32,768).
"""


def is_trapped(call: Traced, names: frozenset[str]) -> bool:
    """Tell whether the session's filter stops a call, from its text."""
    if call.name not in names:
        return False
    needed = {"connect": 1, "sendto": 4, "recvfrom": 4}.get(call.name)
    if needed is not None and call.arguments[needed] == "NULL":
        return False
    if call.name == "getsockopt":
        return call.arguments[1:3] == ("SOL_SOCKET", "SO_ERROR")
    return not any("AT_EMPTY_PATH" in argument for argument in call.arguments)


def differences(ours: Traced, theirs: Traced) -> Iterator[str]:
    """Say what is different in two accounts of one call."""
    if any("AF_NETLINK" in argument for argument in ours.arguments):
        # strace takes such payloads apart
        return
    unknown = ours.result.startswith("? (")
    filled = _FILLED.get(ours.name, ()) if unknown or ours.name in _AS_POINTERS else ()
    if (ours.tid, ours.name, len(ours.arguments)) != (theirs.tid, theirs.name, len(theirs.arguments)):
        yield f"not the same call: {ours} and {theirs}"
        return
    for index, (mine, yours) in enumerate(zip(ours.arguments, theirs.arguments, strict=True)):
        if index not in filled and not _same(mine, yours):
            yield f"argument {index}: {ours} and {theirs}"
    if not unknown and ours.result.partition(" (")[0] != theirs.result.partition(" (")[0]:
        yield f"result: {ours} and {theirs}"


def _same(mine: str, yours: str) -> bool:
    was, _, became = mine.partition(" → ")
    if became:
        # the program sees the one or the other: what it gives, what it gets
        return _same(was, yours) or _same(became, yours)
    if mine == yours:
        return True
    # a payload is cut where strace was told not to cut it
    pieces = [re.escape(piece) for piece in mine.split('"...')]
    return len(pieces) > 1 and re.fullmatch('[^,]*"'.join(pieces), yours) is not None


def paired(ours: list[Traced], theirs: list[Traced]) -> Iterator[tuple[Traced, Traced]]:
    """Return the calls of one thread in pairs; raise ValueError where one account has more of them.

    A signal may end a call before it is received, and the kernel makes it again: strace shows both. One that
    was waiting is continued when a signal comes, and shown twice by both.
    """
    waiting = iter(ours)
    for call in theirs:
        if not call.result.startswith("? ERESTART"):
            yield _next(waiting, call), call
            continue
        rest = list(waiting)
        if rest and rest[0].result.startswith("? (remote"):
            yield rest.pop(0), call
        waiting = iter(rest)
    if left := list(waiting):
        raise ValueError(f"strace has not seen {', '.join(map(str, left))}")


def of_any_run(call: Traced) -> Traced:
    """Return a call without what is different in each run of its program."""
    arguments = call.arguments
    for pattern, text in _DIFFERS:
        arguments = tuple(pattern.sub(text, argument) for argument in arguments)
    return dataclasses.replace(call, tid=0, arguments=arguments)


def by_thread(calls: Iterable[Traced]) -> dict[int, list[Traced]]:
    """Return the calls of each thread."""
    found: dict[int, list[Traced]] = defaultdict(list)
    for call in calls:
        found[call.tid].append(call)
    return found


def _next(calls: Iterator[Traced], other: Traced) -> Traced:
    try:
        return next(calls)
    except StopIteration:
        raise ValueError(f"only strace has seen {other}") from None
