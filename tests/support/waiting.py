"""Waits for something to become true, with a deadline."""

import select
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
_STEP = 0.01


def until(
    what: str, condition: Callable[[], T], *, seconds: float = 10, describe: Callable[[], str] | None = None
) -> T:
    """Return the first true value of ``condition``; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds} s, not yet: {what}\n{describe() if describe else ''}")
        select.select([], [], [], _STEP)
    return value
