"""Telling what a connection speaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.http.detect import PREFACE, Spoken, detect


@pytest.mark.parametrize(
    ("begin", "spoken"),
    [
        (b"", Spoken.UNKNOWN),
        (b"G", Spoken.UNKNOWN),
        (b"GET /", Spoken.UNKNOWN),
        (b"GET / HTTP/1.1\r\n", Spoken.HTTP1),
        (b"\r\nPROPFIND /x HTTP/1.0\n", Spoken.HTTP1),
        (b"GET /\r\n", Spoken.OTHER),
        (b"GET / HTTP/3.0\r\n", Spoken.OTHER),
        (b"PRI", Spoken.UNKNOWN),
        (PREFACE, Spoken.HTTP2),
        (PREFACE + b"\0\0", Spoken.HTTP2),
        (b"PRIVATE / HTTP/1.1\r\n", Spoken.HTTP1),
        (b"\x16\x03\x01", Spoken.OTHER),
        (b"SSH-2.0-OpenSSH\r\n", Spoken.OTHER),
        (b" GET", Spoken.OTHER),
        (b"X" * 65, Spoken.OTHER),
        (b"GET /" + b"x" * 20_000, Spoken.OTHER),
        (b"*1\r\n$4\r\nPING\r\n", Spoken.OTHER),
    ],
)
def test_known_beginnings(begin: bytes, spoken: Spoken) -> None:
    assert detect(begin) is spoken


@given(st.one_of(st.binary(max_size=80), st.just(PREFACE), st.just(b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n")))
def test_more_bytes_only_change_what_is_unknown(data: bytes) -> None:
    told = [detect(data[:length]) for length in range(len(data) + 1)]
    known = [spoken for spoken in told if spoken is not Spoken.UNKNOWN]
    assert told == [Spoken.UNKNOWN] * (len(told) - len(known)) + known
    assert len(set(known)) <= 1
