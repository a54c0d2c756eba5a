"""Starts COUNT connections to HOST PORT together from one event loop and prints how many succeeded.

With a fourth argument `echo`, each one sends a line to the echo service and counts only if it comes back; all
stay open until the last has its answer.
"""

import asyncio
import resource
import sys

HOST, PORT, COUNT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ECHO = sys.argv[4:] == ["echo"]


async def one() -> asyncio.StreamWriter:
    """Connect, and exchange a line if asked to."""
    reader, writer = await asyncio.open_connection(HOST, PORT)
    if ECHO:
        writer.write(b"ping\n")
        if await reader.readexactly(5) != b"ping\n":
            raise OSError("not the echo of what was sent")
    return writer


async def main() -> None:
    """Print the number of connections that succeeded, and the first error."""
    outcomes = await asyncio.gather(*(one() for _ in range(COUNT)), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        print(repr(failures[0]), file=sys.stderr)
    print(COUNT - len(failures), flush=True)
    for outcome in outcomes:
        if isinstance(outcome, asyncio.StreamWriter):
            outcome.transport.abort()


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
asyncio.run(main())
