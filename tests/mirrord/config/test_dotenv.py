from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.config.dotenv import parse_dotenv, read_dotenv
from mirrord.errors import UsageError


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"A=1", b"1"),
        (b"  export A = 1  ", b"1"),
        (b"A=", b""),
        (b"A=1 # comment", b"1"),
        (b"A=1#2", b"1#2"),
        (b"A=b=c", b"b=c"),
        (b"A='a $x \\n'", b"a $x \\n"),
        (b'A="a\\nb\\"c\\$d"', b'a\nb"c$d'),
        (b'A="two\nlines" # and a comment', b"two\nlines"),
        (b"A=two words", b"two words"),
        (b"# first\n\n\r\nA=\xff\r\n", b"\xff"),
        (b"\xef\xbb\xbfA=1", b"1"),
    ],
)
def test_lines(line: bytes, value: bytes) -> None:
    assert parse_dotenv(line) == {b"A": value}


def test_the_last_of_several_wins() -> None:
    assert parse_dotenv(b"A=1\nB=2\nA=3") == {b"A": b"3", b"B": b"2"}


def test_a_wrong_line_is_numbered_but_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"A=1\n\nhunter2\n")
    with pytest.raises(UsageError, match="line 3 is not a variable") as caught:
        read_dotenv(str(file))
    assert "hunter2" not in str(caught.value)


@given(st.binary())
def test_every_content_is_parsed_or_refused(content: bytes) -> None:
    parsed: dict[bytes, bytes] = {}
    with suppress(ValueError):
        parsed = parse_dotenv(content)
    assert all(name and b"=" not in name and b"\0" not in name + value for name, value in parsed.items())


@given(
    st.dictionaries(
        st.from_regex(rb"[A-Z_]{1,8}", fullmatch=True), st.binary().filter(lambda v: b"\0" not in v)
    )
)
def test_quoted_values_come_back(variables: dict[bytes, bytes]) -> None:
    def quote(value: bytes) -> bytes:
        escaped = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\r", b"\\r")
        return b'"' + escaped + b'"'

    content = b"\n".join(name + b"=" + quote(value) for name, value in variables.items())
    assert parse_dotenv(content) == variables
