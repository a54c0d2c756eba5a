"""How a session has the calls of processes that ran before it: what its two ways have in common."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from mirrord.dispatch.complete import CompleteTable
from mirrord.session.processes import descendants
from mirrord.tracer.engine import Engine


class Holder(Protocol):
    """Brings processes under a session, and lets go of them."""

    @property
    def engine(self) -> Engine:
        """Who answers their calls."""

    @property
    def held(self) -> Iterable[int]:
        """The processes that were attached to and have not ended."""

    async def attach(self, table: CompleteTable, remember: Callable[[int], None]) -> None:
        """Bring the process, and its descendants if asked, under the session; raise AttachError.

        ``remember`` is told of each process before its calls are decided.
        """

    async def let_go(self) -> None:
        """Have every call run locally from now on; who decides does so already."""

    def close(self) -> None:
        """Tell who waits for the end that the processes are local."""


def everyone(holder: Holder) -> Iterator[int]:
    """Give the processes that are held, and all below them."""
    yield from holder.held
    yield from descendants(*holder.held)
