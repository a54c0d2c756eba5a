import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.dashboard.keys import keys


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"qp", ["q", "p"]),
        (b"\x1b[A\x1bOB\x1b[5~", ["up", "down", "page up"]),
        (b"\x1b", ["escape"]),
        (b"\r\t\x1b[Z\x7f", ["enter", "tab", "back tab", "backspace"]),
        (b"\x1b[12;3Hx", ["x"]),
        ("é▶".encode(), ["é", "▶"]),
        (b"\x03\x1d", ["ctrl-c", "ctrl-]"]),
    ],
)
def test_keys_have_names(data: bytes, names: list[str]) -> None:
    assert [key for key, _ in keys(data)] == names


@given(st.binary(max_size=50))
def test_any_bytes_are_keys(data: bytes) -> None:
    ends = [end for _, end in keys(data)]
    assert ends == sorted(ends)
