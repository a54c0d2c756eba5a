"""Opens COUNT connections at once from one event loop and prints how many ended in which way.

Arguments: HOST PORT TIMEOUT-IN-MS COUNT.
"""

import asyncio
import collections
import errno
import sys


async def outcome(host: str, port: int, timeout: float) -> str:
    try:
        await asyncio.wait_for(asyncio.open_connection(host, port), timeout)
    except TimeoutError as error:
        # ETIMEDOUT is a TimeoutError as well, the program's own one has no errno
        return "error ETIMEDOUT" if error.errno else "timeout"
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error))
        return f"refused {name}" if isinstance(error, ConnectionRefusedError) else f"error {name}"
    return "ok"


async def main(host: str, port: str, timeout: str, count: str) -> None:
    attempts = (outcome(host, int(port), int(timeout) / 1000) for _ in range(int(count)))
    outcomes = collections.Counter(await asyncio.gather(*attempts))
    for text, times in sorted(outcomes.items()):
        print(f"{text}: {times}")


asyncio.run(main(*sys.argv[1:]))
