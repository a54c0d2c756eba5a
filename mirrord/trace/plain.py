"""A line for each call, in the manner of strace(1)."""

from typing import Final

from mirrord.trace.event import Side
from mirrord.trace.events import Call
from mirrord.tracer.text.call import result

_COLUMN: Final = 39


def line(call: Call, side: Side) -> str:
    """Return one call.

    The result of a call that the kernel ran is not known without ``--results``: ``= ? (local)``. Of one that
    went to the target it tells how long that took.
    """
    record = call.record
    text = f"{record.tid} {call.name}({', '.join(call.full_arguments)})"
    took = f", {duration(call.seconds)}" if record.ours or record.held else ""
    return f"{text:<{_COLUMN}} = {result(record)} ({side}{took})\n"


def duration(seconds: float) -> str:
    """Return a time with three digits."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
