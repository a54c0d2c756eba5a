"""Processes that mirrord has started for itself while a program runs: the session leaves them alone.

The supervisor takes whatever is below it for the program's. What is started and registered without giving the
event loop a turn in between is never mistaken for that.
"""

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

OURS: Final[set[int]] = set()
"""Their numbers."""


async def output(
    line: Sequence[str], *, environment: Mapping[str, str], folder: str | None = None
) -> tuple[int, bytes]:
    """Run a command without input; return its exit status and what it wrote. Its standard error is ours.

    Raises OSError if it cannot be started.
    """
    process = subprocess.Popen(
        line, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    OURS.add(process.pid)
    try:
        written, _ = await asyncio.to_thread(process.communicate)
        return process.returncode, written
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        OURS.discard(process.pid)
