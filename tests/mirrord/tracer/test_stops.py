import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.tracer.stops import (
    AtCall,
    Ended,
    Executed,
    GroupStopped,
    HasChild,
    Noticed,
    Passing,
    Signalled,
    Stopped,
    Trapped,
    decode,
)

TID = 4711


def stopped(number: int, event: int = 0) -> int:
    return event << 16 | number << 8 | 0x7F


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (stopped(signal.SIGTRAP, 7), Trapped),
        (stopped(signal.SIGTRAP | 0x80), AtCall),
        (stopped(signal.SIGTRAP), Signalled),
        (stopped(signal.SIGSTOP), Signalled),
        (stopped(signal.SIGUSR1), Signalled),
        (stopped(signal.SIGSTOP, 128), GroupStopped),
        (stopped(signal.SIGTSTP, 128), GroupStopped),
        (stopped(signal.SIGTTIN, 128), GroupStopped),
        (stopped(signal.SIGTTOU, 128), GroupStopped),
        (stopped(signal.SIGTRAP, 128), Noticed),
        (stopped(signal.SIGTRAP, 1), HasChild),
        (stopped(signal.SIGTRAP, 2), HasChild),
        (stopped(signal.SIGTRAP, 3), HasChild),
        (stopped(signal.SIGTRAP, 4), Executed),
        (stopped(signal.SIGTRAP, 5), Passing),
        (7 << 8, Ended),
        (signal.SIGKILL, Ended),
        (signal.SIGSEGV | 0x80, Ended),
    ],
)
def test_a_status_is_decoded(status: int, kind: type) -> None:
    found = decode(TID, status)
    assert type(found) is kind
    assert (found.tid, found.status) == (TID, status)


@given(st.integers(0, 64), st.integers(0, 200))
def test_the_signal_of_a_stop(number: int, event: int) -> None:
    """``WSTOPSIG`` is the signal of every stop; the event is above it."""
    found = decode(TID, stopped(number, event))
    assert isinstance(found, Stopped)
    assert found.signal == number == os.WSTOPSIG(stopped(number))


@given(st.integers(0, 255), st.booleans())
def test_an_end_is_no_stop(code: int, killed: bool) -> None:
    status = code & 0x3F or 1 if killed else code << 8
    found = decode(TID, status)
    assert type(found) is Ended
    assert os.WIFSTOPPED(status) is False


def test_what_is_not_stopped_has_no_registers() -> None:
    assert not hasattr(Ended(TID, 0), "resume")


@pytest.mark.parametrize(
    "ask",
    [lambda stop: stop.resume(), lambda stop: stop.message(), lambda stop: Trapped(stop.tid, 0).trap()],
)
def test_a_thread_that_is_gone_is_told_as_such(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(ProcessLookupError):
        ask(Stopped(2**22 + 1, 0))
