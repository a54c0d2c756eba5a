"""Look a few times before sleeping.

A program that makes one trapped call after another comes back within microseconds, while waking a sleeping
thread on another CPU takes 40 to 100 in a virtual machine. So the tracer looks for a while first. How often
is learnt: looks that found nothing halve it, those that did double it.
"""

from collections.abc import Callable, Sized
from typing import Final

_MOST: Final = 64
"""Some 60 µs: no more than a wake-up costs that was not needed."""
_LEAST: Final = 2


class Spin:
    """How often one thread looks."""

    def __init__(self) -> None:
        self.looks = _LEAST

    def wait(self, look: Callable[[], tuple[int, int]], answers: Sized) -> tuple[int, int] | None:
        """Return what was found, None when it is time to sleep or there is an answer to be given."""
        for _ in range(self.looks):
            found = look()
            if found[0]:
                self.looks = min(_MOST, self.looks * 2)
                return found
            if answers:
                return None
        self.looks = max(_LEAST, self.looks // 2)
        return None
