"""The command line of ``mirrord diagnose``."""

import time
from typing import TYPE_CHECKING, Final

from mirrord.cli import linked

if TYPE_CHECKING:
    from mirrord.session.programless import Linked

_USAGE: Final = "mirrord diagnose latency [-t TARGET] [-f [FILE]] [FLAGS]"
_DESCRIPTION: Final = """\
Start an agent, ask it 100 times, and say how long the answers took. Without a
target the agent is alone in a pod."""
_COUNT: Final = 100


def main(arguments: list[str]) -> int:
    """Measure; raise MirrordError."""
    parser = linked.parser("mirrord diagnose", _USAGE, _DESCRIPTION)
    parser.add_argument("what", choices=("latency",), metavar="latency", help="what to look at")
    values = vars(parser.parse_args(arguments))
    if values["target"] is None:
        values["target"] = "targetless"
    options = linked.options(values)

    from mirrord.session.programless import run

    return run(options, _measure)


async def _measure(linked: "Linked") -> None:
    from mirrord_agent.wire.messages import GetHostname, Hostname

    channel = linked.link.channel
    # the first one finds everything cold
    await channel.request(GetHostname(), Hostname)
    taken: list[float] = []
    for number in range(1, _COUNT + 1):
        began = time.perf_counter()
        await channel.request(GetHostname(), Hostname)
        taken.append((time.perf_counter() - began) * 1000)
        linked.sayings.detail(f"{number} of {_COUNT}: {taken[-1]:.2f} ms")
    print(f"min {min(taken):.2f} ms, max {max(taken):.2f} ms, avg {sum(taken) / _COUNT:.2f} ms")
