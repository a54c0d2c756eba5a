"""One call as a line."""

import errno
import os
from functools import cache

from mirrord.tracer.record import Answer, CallRecord
from mirrord.tracer.text.arguments import Show, show
from mirrord.tracer.text.memory import Memory
from mirrord.tracer.text.prototypes import prototype


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


def result(record: CallRecord) -> str:
    """Return what the program got, ``?`` where the kernel ran the call."""
    if record.answer is Answer.CONTINUED:
        return "?"
    return str(record.result) if record.result >= 0 else f"-1 {error(-record.result)}"


def error(number: int) -> str:
    """Return an errno as strace(1) writes it."""
    return f"{errno.errorcode.get(number, f'ERRNO_{number}')} ({os.strerror(number)})"
