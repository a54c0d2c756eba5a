"""What is read of the program for people only: what a call's handler did not need to decide it."""

import struct
from collections.abc import Callable, Iterable
from typing import Final

from mirrord_seccomp.syscalls import current_arch
from mirrord_seccomp.syscalls import number as number_of

from mirrord.tracer.recorded import Reader, RecordedCall
from mirrord.tracer.text.prototypes import prototype

_POINTER: Final = struct.Struct("=Q")
MSGHDR: Final = struct.Struct("=QI4xQQQQi4x")
IOVEC: Final = struct.Struct("=QQ")
SHOWN: Final = 64
"""Bytes of a payload; strace(1) shows 32."""
_MOST_WORDS: Final = 32
_MOST_VARIABLES: Final = 512
MOST_VECTORS: Final = 16
MOST_MESSAGES: Final = 8
LONGEST_ADDRESS: Final = 128
_WORD: Final = 8
MMSGHDR: Final = 64


def readers(numbers: Iterable[int]) -> dict[int, Reader]:
    """Return who reads more of each of these calls."""
    arch = current_arch()
    special = {number_of(name, arch): reader for name, reader in _SPECIAL.items()}
    return {number: special.get(number) or _paths(prototype(number).paths) for number in numbers}


def only_paths(numbers: Iterable[int]) -> dict[int, int]:
    """Return which argument is the path of those calls of which nothing else is read."""
    arch = current_arch()
    special = {number_of(name, arch) for name in _SPECIAL}
    found = {number: prototype(number).paths for number in numbers if number not in special}
    return {number: paths[0] for number, paths in found.items() if len(paths) == 1}


def _paths(arguments: tuple[int, ...]) -> Reader:
    def read(call: RecordedCall) -> None:
        for argument in arguments:
            _string(call, call.args[argument])

    return read


def _string(call: RecordedCall, address: int) -> None:
    if address and not call.has_seen(address):
        call.string(address)


def _bytes(call: RecordedCall, address: int, size: int) -> None:
    if address and size and not call.has_seen(address):
        call.read(address, min(size, SHOWN))


def _execute(first: int) -> Reader:
    """Read the path, the words and the number of variables of an execve(2).

    The thread has to be looked at afresh after: its handler saw to that before we looked again.
    """

    def read(call: RecordedCall) -> None:
        path, words, variables = call.args[first : first + 3]
        try:
            _string(call, path)
            for address in _pointers(call, words, _MOST_WORDS):
                _string(call, address)
            _pointers(call, variables, _MOST_VARIABLES)
        finally:
            call.threads.forget(call.tid)

    return read


def _pointers(call: RecordedCall, address: int, most: int) -> list[int]:
    """Read an array that ends with NULL, a page at a time; it is shown by its pointers."""
    found: list[int] = []
    while address and len(found) < most:
        pointer: int = _POINTER.unpack(call.read(address, _WORD))[0]
        if not pointer:
            return found
        found.append(pointer)
        address += _WORD
    return found


def _send(call: RecordedCall) -> None:
    _bytes(call, call.args[1], call.args[2])
    if call.args[4] and not call.has_seen(call.args[4]):
        call.read(call.args[4], min(call.args[5] & 0xFFFFFFFF, LONGEST_ADDRESS))


def _address(call: RecordedCall) -> None:
    if call.args[1] and not call.has_seen(call.args[1]):
        call.read(call.args[1], min(call.args[2] & 0xFFFFFFFF, LONGEST_ADDRESS))


def _room(argument: int) -> Reader:
    """Read how much room there is for an address."""

    def read(call: RecordedCall) -> None:
        address = call.args[argument]
        if address and not call.has_seen(address):
            call.read(address, 4)

    return read


def _message(call: RecordedCall) -> None:
    _one_message(call, call.args[1])


def _messages(call: RecordedCall) -> None:
    for index in range(min(call.args[2] & 0xFFFFFFFF, MOST_MESSAGES)):
        _one_message(call, call.args[1] + index * MMSGHDR)


def _one_message(call: RecordedCall, at: int) -> None:
    name, name_size, vectors, count, *_ = MSGHDR.unpack(call.read(at, MSGHDR.size))
    if name and not call.has_seen(name):
        call.read(name, min(name_size, LONGEST_ADDRESS))
    if not vectors or not count:
        return
    for address, size in IOVEC.iter_unpack(call.read(vectors, min(count, MOST_VECTORS) * IOVEC.size)):
        _bytes(call, address, size)


def _room_for_message(call: RecordedCall) -> None:
    _room_for_one(call, call.args[1])


def _room_for_messages(call: RecordedCall) -> None:
    for index in range(min(call.args[2] & 0xFFFFFFFF, MOST_MESSAGES)):
        _room_for_one(call, call.args[1] + index * MMSGHDR)


def _room_for_one(call: RecordedCall, at: int) -> None:
    """Read where a message is to be received; its handler may have needed that, too."""
    if call.has_seen(at):
        return
    _, _, vectors, count, *_ = MSGHDR.unpack(call.read(at, MSGHDR.size))
    if vectors and count:
        call.read(vectors, min(count, MOST_VECTORS) * IOVEC.size)


def _how(call: RecordedCall) -> None:
    _string(call, call.args[1])
    if not call.has_seen(call.args[2]):
        call.read(call.args[2], min(call.args[3], 24))


_SPECIAL: Final[dict[str, Callable[[RecordedCall], None]]] = {
    "execve": _execute(0),
    "execveat": _execute(1),
    "sendto": _send,
    "sendmsg": _message,
    "sendmmsg": _messages,
    "connect": _address,
    "bind": _address,
    "getsockname": _room(2),
    "getpeername": _room(2),
    "accept": _room(2),
    "accept4": _room(2),
    "getsockopt": _room(4),
    "recvfrom": _room(5),
    "recvmsg": _room_for_message,
    "recvmmsg": _room_for_messages,
    "openat2": _how,
}
