"""Whether the client is there, as the target's clients have nobody else to answer them meanwhile.

It is away when its link has broken, and when nothing comes through it though both sides ping: its machine
sleeps, or the way to it is cut without anybody being told.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

_BROKEN: Final = 0.5
"""Seconds for which the target's clients wait while the link is broken; then the target answers."""
_TICK: Final = 1.0
_QUIET: Final = 5
"""Ticks for which they wait while nothing comes through it; in that time both sides ping more than twice."""


class Link(Protocol):
    """What the client is heard through."""

    @property
    def bytes_received(self) -> int:
        """Bytes that have arrived."""
        ...


class Presence:
    """One client's; tells when it goes away for a while, comes back, or is gone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        patience: float,
        gone: Callable[[str], None],
        away: Callable[[], None],
        back: Callable[[], None],
    ) -> None:
        """``gone`` is told why, when the client has not come, or come back, for ``patience`` seconds."""
        self._loop: Final = loop
        self._patience: Final = patience
        self._gone: Final = gone
        self._tell_away: Final = away
        self._tell_back: Final = back
        self._timers: Final[list[asyncio.TimerHandle]] = []
        self._tick: asyncio.TimerHandle | None = None
        self._is_away: bool = False

    def expect(self, or_else: str) -> None:
        """Wait for the client; without it ``or_else`` is why it is gone."""
        self.stop()
        self._timers.append(self._loop.call_later(self._patience, self._gone, or_else))

    def broken(self, or_else: str) -> None:
        """Wait for it again: its link has broken."""
        self.expect(or_else)
        self._timers.append(self._loop.call_later(_BROKEN, self._away))

    def there(self, link: Link) -> None:
        """It is there, and should be heard through ``link`` from now on."""
        self.stop()
        self._back()
        self._listen(link, link.bytes_received, 0)

    def stop(self) -> None:
        """Wait for nothing any more."""
        while self._timers:
            self._timers.pop().cancel()
        if self._tick is not None:
            self._tick.cancel()

    def _listen(self, link: Link, received: int, unheard: int) -> None:
        self._tick = self._loop.call_later(_TICK, self._heard, link, received, unheard)

    def _heard(self, link: Link, received: int, unheard: int) -> None:
        """Look whether anything came since the last tick.

        Ticks are counted, not time: between two of them the event loop has read what there was, however
        long it was held up.
        """
        unheard = 0 if link.bytes_received != received else unheard + 1
        if unheard == 0:
            self._back()
        elif unheard == _QUIET:
            self._away()
        self._listen(link, link.bytes_received, unheard)

    def _away(self) -> None:
        if not self._is_away:
            self._is_away = True
            self._tell_away()

    def _back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._tell_back()
