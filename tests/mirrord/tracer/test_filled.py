import struct

import pytest
from mirrord_seccomp.notify import NotificationId
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.syscall import Fault, Tid
from mirrord.tracer.filled import fillers
from mirrord.tracer.recorded import RecordedCall
from mirrord.tracer.recorder import Recorder
from mirrord.tracer.threads import Threads

BASE, SIZE = 0x1000, 0x1000
MESSAGE = struct.Struct("=QI4xQQQQi4x")
AREA = struct.Struct("=QQ")


class Memory(Threads):
    """Threads that have one page."""

    def __init__(self, **places: bytes) -> None:
        super().__init__(lambda _: True)
        self.page = bytearray(SIZE)
        for place, data in places.items():
            at = int(place.removeprefix("at_"), 16)
            self.page[at : at + len(data)] = data

    def read(self, tid: int, call: NotificationId, address: int, size: int) -> bytes:
        if not BASE <= address < BASE + SIZE:
            raise Fault
        return bytes(self.page[address - BASE : address - BASE + size])


def filled(name: str, result: int, memory: Memory, *args: int) -> list[tuple[int, bytes]]:
    call_number = number(name, current_arch()) or 0
    a0, a1, a2, a3, a4, a5 = (*args, *[0] * (6 - len(args)))
    recorder = Recorder([call_number], results=True)
    call = RecordedCall(NotificationId(1), Tid(1), call_number, (a0, a1, a2, a3, a4, a5), memory, recorder)
    return list(fillers([call_number])[call_number](call, result))


@pytest.mark.parametrize(("name", "at", "size"), [("stat", 1, 144), ("statx", 4, 256), ("uname", 0, 390)])
def test_a_structure_is_read_whole(name: str, at: int, size: int) -> None:
    args = [0, 0, 0, 0, 0, 0]
    assert filled(name, 0, Memory(), *args) == []
    args[at] = BASE
    assert filled(name, 0, Memory(), *args) == [(BASE, bytes(size))]


def test_of_a_text_as_much_is_read_as_there_is() -> None:
    assert filled("readlink", 3, Memory(at_10=b"abcdef"), BASE, BASE + 0x10, 100) == [(BASE + 0x10, b"abc")]
    assert filled("readlink", 0, Memory(), BASE, BASE + 0x10, 100) == []


def test_a_datagram_and_its_sender() -> None:
    memory = Memory(at_0=b"payload", at_100=b"sixteen bytes ..", at_200=struct.pack("=I", 16))
    args = (3, BASE, 100, 0, BASE + 0x100, BASE + 0x200)
    assert filled("recvfrom", 4, memory, *args) == [
        (BASE, b"payl"),
        (BASE + 0x200, struct.pack("=I", 16)),
        (BASE + 0x100, b"sixteen bytes .."),
    ]


def test_a_message_is_read_as_far_as_it_goes() -> None:
    vectors = AREA.pack(BASE + 0x300, 4) + AREA.pack(BASE + 0x400, 4)
    header = MESSAGE.pack(0, 0, BASE + 0x100, 2, 0, 0, 0)
    memory = Memory(at_0=header, at_100=vectors, at_300=b"abcd", at_400=b"efgh")
    areas = dict(filled("recvmsg", 6, memory, 3, BASE, 0))
    assert (areas[BASE + 0x300], areas[BASE + 0x400]) == (b"abcd", b"ef")


def test_a_bad_pointer_is_a_fault() -> None:
    with pytest.raises(Fault):
        filled("stat", 0, Memory(), 0, 1)


def test_what_fills_nothing_has_no_reader() -> None:
    assert fillers([number("chdir", current_arch()) or 0]) == {}
