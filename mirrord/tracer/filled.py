"""What the kernel has put into the program's memory, read at the end of a call: for people only."""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mirrord_seccomp.syscalls import current_arch
from mirrord_seccomp.syscalls import number as number_of

from mirrord.tracer.closer import IOVEC, LONGEST_ADDRESS, MMSGHDR, MOST_MESSAGES, MOST_VECTORS, MSGHDR, SHOWN
from mirrord.tracer.recorded import Filled, RecordedCall

_STAT: Final = 144
_STATX: Final = 256
_UTSNAME: Final = 390
_PATH_MAX: Final = 4096
_INT: Final = struct.Struct("=I")
_LENGTH: Final = 8
"""Where ``struct msghdr`` has the size of the name."""
_CONTROL: Final = 40
_FLAGS: Final = 48

_Area = tuple[int, bytes]
_Areas = Callable[[RecordedCall, int], Iterator[_Area]]
"""Returns what there is after a call with this result, which is no failure."""


def fillers(numbers: Iterable[int]) -> dict[int, Filled]:
    """Return who reads what each of these calls has filled."""
    arch = current_arch()
    known = {number_of(name, arch): areas for name, areas in _BY_CALL.items()}
    return {number: known[number] for number in numbers if number in known}


def _block(argument: int, size: int) -> _Areas:
    def areas(call: RecordedCall, _: int) -> Iterator[_Area]:
        yield from _bytes(call, call.args[argument], size)

    return areas


def _result(argument: int, most: int) -> _Areas:
    """Read as many bytes as the result says."""

    def areas(call: RecordedCall, result: int) -> Iterator[_Area]:
        yield from _bytes(call, call.args[argument], min(result, most))

    return areas


def _address(at: int, size: int) -> _Areas:
    def areas(call: RecordedCall, _: int) -> Iterator[_Area]:
        yield from _sized(call, call.args[at], call.args[size])

    return areas


def _option(call: RecordedCall, _: int) -> Iterator[_Area]:
    yield from _bytes(call, call.args[3], 4)
    yield from _bytes(call, call.args[4], 4)


def _received(call: RecordedCall, result: int) -> Iterator[_Area]:
    yield from _bytes(call, call.args[1], min(result, SHOWN))
    yield from _sized(call, call.args[4], call.args[5])


def _message(call: RecordedCall, result: int) -> Iterator[_Area]:
    yield from _one_message(call, call.args[1], result)


def _messages(call: RecordedCall, result: int) -> Iterator[_Area]:
    for index in range(min(result, MOST_MESSAGES)):
        at = call.args[1] + index * MMSGHDR
        length = call.look(at + MSGHDR.size, 4)
        yield at + MSGHDR.size, length
        yield from _one_message(call, at, _INT.unpack(length)[0])


def _sent_messages(call: RecordedCall, result: int) -> Iterator[_Area]:
    for index in range(min(result, MOST_MESSAGES)):
        yield from _bytes(call, call.args[1] + index * MMSGHDR + MSGHDR.size, 4)


def _one_message(call: RecordedCall, at: int, received: int) -> Iterator[_Area]:
    name, name_size, vectors, count, *_ = MSGHDR.unpack(call.look(at, MSGHDR.size))
    yield from _bytes(call, at + _LENGTH, 4)
    yield from _bytes(call, at + _CONTROL, 8)
    yield from _bytes(call, at + _FLAGS, 4)
    yield from _bytes(call, name, min(name_size, LONGEST_ADDRESS))
    if not vectors:
        return
    for address, size in IOVEC.iter_unpack(call.look(vectors, min(count, MOST_VECTORS) * IOVEC.size)):
        taken = min(size, received)
        received -= taken
        yield from _bytes(call, address, min(taken, SHOWN))


def _sized(call: RecordedCall, address: int, size: int) -> Iterator[_Area]:
    """Read an address whose size is in memory, too."""
    if address and size:
        raw = call.look(size, 4)
        yield size, raw
        yield from _bytes(call, address, min(_INT.unpack(raw)[0], LONGEST_ADDRESS))


def _bytes(call: RecordedCall, address: int, size: int) -> Iterator[_Area]:
    if address and size:
        yield address, call.look(address, size)


_BY_CALL: Final[dict[str, _Areas]] = {
    "stat": _block(1, _STAT),
    "lstat": _block(1, _STAT),
    "newfstatat": _block(2, _STAT),
    "statx": _block(4, _STATX),
    "uname": _block(0, _UTSNAME),
    "readlink": _result(1, SHOWN),
    "readlinkat": _result(2, SHOWN),
    "getcwd": _result(0, _PATH_MAX),
    "getsockname": _address(1, 2),
    "getpeername": _address(1, 2),
    "accept": _address(1, 2),
    "accept4": _address(1, 2),
    "getsockopt": _option,
    "recvfrom": _received,
    "recvmsg": _message,
    "recvmmsg": _messages,
    "sendmmsg": _sent_messages,
}
