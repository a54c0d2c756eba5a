"""The table of system calls of one session: the filter that traps them, and who decides each."""

from collections.abc import Iterable, Iterator
from typing import Final

from mirrord_seccomp import bpf
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.dispatch.endpoints import Endpoints
from mirrord.dispatch.files import Files
from mirrord.dispatch.incoming import Incoming
from mirrord.dispatch.names import Names
from mirrord.dispatch.outgoing import Outgoing
from mirrord.dispatch.process import Process
from mirrord.dispatch.receive import Receive
from mirrord.dispatch.row import Row, traps_of
from mirrord.dispatch.send import Send
from mirrord.dispatch.world import World
from mirrord.syscall import Handler


class Table:
    """What the session's planes need, and nothing else: without a plane none of its calls is trapped."""

    def __init__(
        self,
        rows: Iterable[Row],
        trap: Action = Action.NOTIFY,
        more: Iterable[tuple[Rule, Handler]] = (),
    ) -> None:
        """``trap`` is how the filter traps a call, ``more`` what the tracer itself wants trapped."""
        rows = [*rows, *(Row(rule, handler) for rule, handler in more)]
        self.filter: Final = bpf.compile(
            [row.rule.acting(trap) if row.handler else row.rule for row in rows], current_arch()
        )
        self.traps: Final = traps_of(rows)
        """What is trapped, by number."""
        self.handlers: Final[dict[int, Handler]] = {
            found: row.handler
            for row in rows
            if row.handler is not None and (found := number(row.rule.syscall, current_arch())) is not None
        }


def rows_of(world: World) -> Iterator[Row]:
    """Give the rows of the planes that a session has."""
    yield from Process(world).rows()
    yield from Names(world).rows()
    if world.has_network:
        yield from Endpoints(world).rows()
        yield from Incoming(world).rows()
    if world.has_outgoing:
        streams = Outgoing(world)
        yield from streams.rows()
        yield from Send(world, streams).rows()
        yield from Receive(world).rows()
    yield from Files(world).rows()
