"""The command line of ``mirrord port-forward``."""

import asyncio
import os
import re
from typing import TYPE_CHECKING, Final

from mirrord.cli import linked
from mirrord.errors import TargetError, UsageError

if TYPE_CHECKING:
    from mirrord.link.forwarding import Inward, Outward
    from mirrord.session.programless import Linked

_USAGE: Final = "mirrord port-forward [-t TARGET] [-L [LOCAL:]HOST:PORT]... [-R [REMOTE:]LOCAL]... [FLAGS]"
_DESCRIPTION: Final = """\
Ports of this machine that lead to what the target reaches (-L), and ports of the
target that lead to this machine (-R). Names are looked up in the target. What -R
takes is a copy, or with --steal, or `feature.network.incoming`, the connection.
Ctrl-C ends it."""
_LOCAL: Final = re.compile(r"(?:(?P<local>\d+):)?(?P<host>\[[0-9a-fA-F:]+\]|[^:\[\]]+):(?P<port>\d+)")
_REMOTE: Final = re.compile(r"(?:(?P<remote>\d+):)?(?P<local>\d+)")
_LAST: Final = 65_535


def main(arguments: list[str]) -> int:
    """Forward until a signal; raise MirrordError."""
    parser = linked.parser("mirrord port-forward", _USAGE, _DESCRIPTION)
    parser.add_argument(
        *("-L", "--port-mappings"), action="append", default=[], metavar="[LOCAL:]HOST:PORT", dest="outward"
    )
    parser.add_argument("-R", action="append", default=[], metavar="[REMOTE:]LOCAL", dest="inward")
    parser.add_argument("--steal", action="store_true", help="take connections, in place of copies of them")
    values = vars(parser.parse_args(arguments))
    outward = [outward_rule(text) for text in values["outward"]]
    inward = [inward_rule(text) for text in values["inward"]]
    if not outward and not inward:
        raise UsageError("nothing is to be forwarded", remedy="give -L or -R")
    if values["target"] is None and not inward:
        values["target"] = "targetless"
    options = linked.options(values, steal=values["steal"])

    from mirrord.session.programless import run

    return run(options, lambda linked: _forward(linked, outward, inward))


def outward_rule(text: str) -> "Outward":
    """Return what ``-L`` says; raise UsageError. Without a local port it is the remote one."""
    from mirrord.link.forwarding import Outward

    if (match := _LOCAL.fullmatch(text)) is None:
        raise UsageError(f"-L {text} is malformed", remedy="use -L [LOCAL:]HOST:PORT")
    port = _port(match["port"], text)
    return Outward(_port(match["local"] or match["port"], text), match["host"].strip("[]"), port)


def inward_rule(text: str) -> "Inward":
    """Return what ``-R`` says; raise UsageError. Without a remote port it is the local one."""
    from mirrord.link.forwarding import Inward

    if (match := _REMOTE.fullmatch(text)) is None:
        raise UsageError(f"-R {text} is malformed", remedy="use -R [REMOTE:]LOCAL")
    return Inward(_port(match["remote"] or match["local"], text), _port(match["local"], text))


def _port(text: str, whole: str) -> int:
    if not 0 < int(text) <= _LAST:
        raise UsageError(f"{text} in {whole} is no port", remedy="use a number from 1 to 65535")
    return int(text)


async def _forward(linked: "Linked", outward: "list[Outward]", inward: "list[Inward]") -> None:
    from mirrord.link.forwarding import OutwardForward

    sayings, lead = linked.sayings, linked.replicas.lead
    serving = []
    for rule in outward:
        try:
            forward = OutwardForward(lead, rule, sayings.warn)
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise TargetError(
                f"port {rule.local} of this machine cannot be listened to: {why}",
                remedy="name another before it: -L LOCAL:HOST:PORT",
            ) from error
        sayings.info(f"127.0.0.1:{forward.port} leads to {rule.host}:{rule.port}")
        serving.append(asyncio.ensure_future(forward.serve()))
    try:
        await _subscribe(linked, inward)
        await asyncio.get_running_loop().create_future()
    finally:
        for one in serving:
            one.cancel()


async def _subscribe(linked: "Linked", rules: "list[Inward]") -> None:
    if not rules:
        return
    from mirrord.link.forwarding import InwardForwards

    mode = linked.settings.feature.network.incoming.mode
    if mode == "off":
        raise UsageError(
            "-R needs incoming traffic", remedy="set `feature.network.incoming` to mirror or steal"
        )
    taking = InwardForwards(rules, mirror=mode == "mirror", warn=linked.sayings.warn)
    places = linked.places(taking.take, mode)
    for rule in rules:
        if await places.subscribe(rule.remote):
            linked.sayings.info(f"port {rule.remote} leads to 127.0.0.1:{rule.local}")
