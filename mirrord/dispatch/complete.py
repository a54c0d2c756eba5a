"""The table of a process that is attached to: its filter stays, so it traps what any session could want.

A filter never comes off a process, and each later session may have other planes. So what one session refuses
in the kernel is trapped as well, and refused by the handler: without a session it is allowed again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from mirrord_seccomp import bpf
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.config.incoming import IncomingRules
from mirrord.config.load import validate
from mirrord.config.model import Settings
from mirrord.config.outgoing import DnsRules, OutgoingRules
from mirrord.config.paths import PathRules
from mirrord.dispatch.row import Row, traps_of
from mirrord.dispatch.table import Table, rows_of
from mirrord.dispatch.watch import Watch
from mirrord.dispatch.world import World
from mirrord.syscall import CONTINUE, Call, Fail, Handler, Verdict

_ERRNO_KIND: Final = 0x00050000
_ERRNO_MASK: Final = 0x0000FFFF


@dataclass(frozen=True, slots=True)
class CompleteTable:
    """What is trapped, by number, with the filter that does so, and what a session decides of it."""

    filter: bytes
    traps: Mapping[int, Sequence[Rule]]
    handlers: "Handlers"

    @classmethod
    def of(cls, world: World, more: Iterable[tuple[Rule, Handler]] = ()) -> Self:
        """Return the table of a session with a target; ``more`` is what the tracer itself wants to decide,
        without a filter.
        """
        complete = _trapped(rows_of(_with_everything(world)))
        wanted = _by_number(_trapped(rows_of(world)))
        trapped = _by_number(complete)
        return cls._made(
            complete, {found: _handler(wanted.get(found, []), trapped[found]) for found in trapped}, more
        )

    @classmethod
    def looking(cls, watch: Watch, more: Iterable[tuple[Rule, Handler]] = ()) -> Self:
        """Return the table of a session that only looks at calls."""
        return cls._made(
            _trapped(rows_of(_with_everything(_unreachable(watch)))), Table(watch.rows()).handlers, more
        )

    @classmethod
    def _made(
        cls,
        complete: Sequence[Row],
        handlers: Mapping[int, Handler],
        more: Iterable[tuple[Rule, Handler]],
    ) -> Self:
        own = [Row(rule, handler) for rule, handler in more]
        of_own = {found: row.handler for row in own if row.handler and (found := _number(row)) is not None}
        return cls(
            bpf.compile(_once(row.rule for row in complete), current_arch()),
            {**traps_of(complete), **traps_of(own)},
            Handlers({**handlers, **of_own}),
        )


class Handlers(dict[int, Handler]):
    """Handlers by number. What a process's filter traps that this version does not know is continued."""

    def __missing__(self, number: int) -> Handler:
        return go_on

    def let_go(self) -> None:
        """Continue every call from now on."""
        self.clear()


def go_on(call: Call) -> Verdict:
    """Leave a call to the kernel."""
    return CONTINUE


@dataclass(frozen=True, slots=True)
class _Refusing:
    """A handler that stands for a rule by which the kernel would refuse the call."""

    errno: int

    def __call__(self, call: Call) -> Verdict:
        return Fail(self.errno)


@dataclass(frozen=True, slots=True)
class _FirstMatch:
    """A handler for a call that the filter traps in more cases than the session wants it."""

    rows: Sequence[Row]

    def __call__(self, call: Call) -> Verdict:
        for row in self.rows:
            if row.handler is not None and row.rule.matches(call.args):
                return row.handler(call)
        return CONTINUE


def _handler(wanted: Sequence[Row], trapped: Sequence[Row]) -> Handler:
    if not wanted:
        return go_on
    first = wanted[0].handler
    alike = all(row.handler == first for row in wanted)
    if first and alike and [row.rule for row in trapped] == [row.rule for row in wanted]:
        return first
    return _FirstMatch(wanted)


def _trapped(rows: Iterable[Row]) -> list[Row]:
    return [_as_trap(row) for row in rows]


def _as_trap(row: Row) -> Row:
    if row.handler is not None or row.rule.action.value & ~_ERRNO_MASK != _ERRNO_KIND:
        return row
    rule = Rule(row.rule.syscall, Action.NOTIFY, *row.rule.tests)
    return Row(rule, _Refusing(row.rule.action.value & _ERRNO_MASK))


def _by_number(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        if (nr := _number(row)) is not None:
            found.setdefault(nr, []).append(row)
    return found


def _number(row: Row) -> int | None:
    return number(row.rule.syscall, current_arch())


def _once(rules: Iterable[Rule]) -> list[Rule]:
    return list(dict.fromkeys(rules))


def _unreachable(watch: Watch) -> World:
    """Return a world with nothing behind it: its rows are made for their rules, and no handler is called."""
    nothing: Any = None
    settings = _defaults()
    return World(
        ipv6=False,
        hostname=None,
        addresses={},
        paths=PathRules.from_settings(settings, cwd=b"/", home=None),
        outgoing=OutgoingRules.from_settings(settings),
        dns=DnsRules.from_settings(settings),
        connections=nothing,
        unix=nothing,
        datagrams=nothing,
        incoming=None,
        bound=nothing,
        incoming_rules=IncomingRules(settings.feature.network.incoming),
        files=nothing,
        names=nothing,
        forget_thread=nothing,
        forget_threads=nothing,
        inform=nothing,
        returning_from_signal=watch.returning,
    )


def _defaults() -> Settings:
    return Settings(target="", configuration=validate({}), key="")


def _with_everything(world: World) -> World:
    """Return the same world as a session sees it that has every plane."""
    settings = _defaults()
    return replace(
        world,
        ipv6=False,
        hostname=b"",
        paths=PathRules.from_settings(settings, cwd=b"/", home=None),
        outgoing=OutgoingRules.from_settings(settings),
        dns=DnsRules.from_settings(settings),
        incoming_rules=IncomingRules(settings.feature.network.incoming),
    )
