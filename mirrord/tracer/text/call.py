"""One call as a line."""

import errno
import os
from functools import cache
from typing import NamedTuple

from mirrord.tracer.record import RESTARTS, CallRecord
from mirrord.tracer.text.arguments import Show, show
from mirrord.tracer.text.memory import Memory
from mirrord.tracer.text.prototypes import prototype


class Rewritten(NamedTuple):
    """What an argument was, and what it became: one that is given on its way here, one that is got on its
    way to the program.
    """

    was: str
    became: str


@cache
def _shows(number: int) -> tuple[Show, ...]:
    known = prototype(number)
    return tuple(show(known.name, argument) for argument in known.arguments)


def name(record: CallRecord) -> str:
    """Return what the call is called."""
    return prototype(record.number).name


def arguments(record: CallRecord, memory: Memory) -> tuple[str, ...]:
    """Return the texts of the arguments, without those at the end that the call does not have."""
    texts = [
        one(record, memory, value) for one, value in zip(_shows(record.number), record.args, strict=False)
    ]
    while texts and not texts[-1]:
        texts.pop()
    return tuple(texts)


def rewritten(record: CallRecord, memory: Memory) -> dict[int, Rewritten]:
    """Return which arguments, by their places, were other ones where the call was made for the program."""
    found: dict[int, Rewritten] = {}
    if not record.here:
        return found
    for got in (False, True):
        other = memory.with_others(record.here, got=got)
        if other is None:
            continue
        for at, (mine, here) in enumerate(
            zip(arguments(record, memory), arguments(record, other), strict=True)
        ):
            if mine != here:
                found[at] = Rewritten(here, mine) if got else Rewritten(mine, here)
    return found


def result(record: CallRecord) -> str:
    """Return what the program got, ``?`` where nobody knows, or a signal has interrupted the call."""
    if record.repeated:
        return f"? {RESTARTS[record.result]}"
    if not record.known:
        return "?"
    return str(record.result) if record.result >= 0 else f"-1 {error(-record.result)}"


def error_name(record: CallRecord) -> str | None:
    """Return what the errno of a call is called that has failed, or that a signal has interrupted."""
    if record.repeated:
        return RESTARTS[record.result].partition(" ")[0]
    return errno.errorcode.get(-record.result) if record.failed else None


def error(number: int) -> str:
    """Return an errno as strace(1) writes it."""
    return f"{errno.errorcode.get(number, f'ERRNO_{number}')} ({os.strerror(number)})"
