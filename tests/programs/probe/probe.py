"""Connects once: HOST PORT TIMEOUT_SECONDS. Prints ok, refused, timeout or another error's name."""

import asyncio
import errno
import socket
import sys


async def outcome(host: str, port: int, patience: float) -> str:
    """Return what became of one connection."""
    try:
        async with asyncio.timeout(patience):
            # of several addresses that fail, asyncio would give no errno
            _, writer = await asyncio.open_connection(host, port, family=socket.AF_INET)
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    writer.close()
    return "ok"


print(asyncio.run(outcome(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
