"""Telling the user of a fetch that takes long."""

import asyncio
import os
from collections.abc import Callable
from typing import Final

_PATIENCE: Final = 1.0
"""Seconds after which the user is told what is waited for."""
_FIRST_PROGRESS: Final = 2.0
"""Seconds from then to the first word of how far it is."""
_PROGRESS: Final = 5.0
Tell = Callable[[str], None]


class Progress:
    """Tells the user of a fetch that takes long."""

    def __init__(self, inform: Tell, path: bytes, size: int) -> None:
        self.path: Final = path
        self.done: int = 0
        self._inform: Final = inform
        self._size: Final = size
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "Progress":
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._begin)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._inform(f"fetching {os.fsdecode(self.path)} ({size_text(self._size)}) from the target …")
        self._timer = asyncio.get_running_loop().call_later(_FIRST_PROGRESS, self._go_on)

    def _go_on(self) -> None:
        of = (
            f"{self.done * 100 // self._size:3} % of {size_text(self._size)}"
            if self._size
            else size_text(self.done)
        )
        self._inform(f"{os.fsdecode(self.path)}: {of}")
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS, self._go_on)


def size_text(count: int) -> str:
    """Return a number of bytes as one reads it."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GiB"
