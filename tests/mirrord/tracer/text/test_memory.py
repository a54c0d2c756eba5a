import pytest

from mirrord.tracer.record import Area
from mirrord.tracer.text.memory import Memory, payload, pointer, quoted


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"/a/path", '"/a/path"'),
        (b'a "word"\\', '"a \\"word\\"\\\\"'),
        (b"\n\t\r", '"\\n\\t\\r"'),
        (b"\0a\x001\xff", '"\\0a\\0001\\377"'),
    ],
)
def test_bytes_are_quoted_as_strace_does(data: bytes, text: str) -> None:
    assert quoted(data) == text


def test_a_payload_is_cut() -> None:
    assert payload(b"x" * 40, 40, 1) == f'"{"x" * 32}"...'
    assert payload(b"x" * 32, 32, 1) == f'"{"x" * 32}"'
    assert payload(None, 3, 0x10) == "0x10"
    assert payload(None, 0, 0x10) == '""'
    assert pointer(0) == "NULL"


def test_what_was_read_and_what_was_written_are_two_things() -> None:
    memory = Memory([Area(0x100, b"abc\0def"), Area(0x104, b"XYZ!", written=True)])
    assert memory.string(0x100) == b"abc"
    assert memory.at(0x104, 3) == b"def"
    assert memory.at(0x104, 3, written=True) == b"XYZ"
    assert memory.at(0x99, 1) is None
    assert memory.string(0x200) is None
    assert memory.number(0x104, written=True) == int.from_bytes(b"XYZ!", "little")
