"""Attempts are made in processes of their own, however they end."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from mirrord.doctor import finding as module
from mirrord.doctor.finding import Attempt, Finding, Lacking, Outcome
from mirrord.errors import KernelError


def attempt(run: Callable[[], str], *, needed: bool = True) -> Finding:
    return Attempt("it", run, "a cost", needed=needed, remedy="do that").make()


def raising(error: Exception) -> Callable[[], str]:
    def run() -> str:
        raise error

    return run


def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "unreachable"


def hang() -> str:
    time.sleep(100)
    return "too late"


def test_what_works_has_no_cost() -> None:
    assert attempt(lambda: "yes") == Finding("it", Outcome.WORKS, "yes")


@pytest.mark.parametrize(
    ("run", "found", "remedy"),
    [
        (raising(Lacking("it is not there", "get it")), "it is not there", "get it"),
        (raising(Lacking("it is not there")), "it is not there", "do that"),
        (raising(KernelError("too old", remedy="renew it")), "too old", "renew it"),
        (raising(PermissionError(1, "Operation not permitted")), "operation not permitted", "do that"),
        (die, "the attempt was ended by signal 9", "do that"),
    ],
)
def test_what_does_not_work_says_why(run: Callable[[], str], found: str, remedy: str) -> None:
    assert attempt(run) == Finding("it", Outcome.FAILS, found, "a cost", remedy)
    assert attempt(run, needed=False).outcome is Outcome.LACKS


def test_what_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    assert attempt(hang).found.startswith("no answer within")


def test_nothing_of_an_attempt_stays_here() -> None:
    before = (os.getpid(), set(os.listdir("/proc/self/fd")), os.getcwd())

    def run() -> str:
        os.chdir("/")
        return "yes"

    attempt(run)
    assert (os.getpid(), set(os.listdir("/proc/self/fd")), os.getcwd()) == before
