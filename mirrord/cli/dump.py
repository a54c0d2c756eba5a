"""The command line of ``mirrord dump``."""

import asyncio
import os
from typing import TYPE_CHECKING, Final

from mirrord.cli import linked
from mirrord.errors import UsageError

if TYPE_CHECKING:
    from mirrord_agent.wire.channel import Stream
    from mirrord_agent.wire.messages import Arrived

    from mirrord.link.places import Place
    from mirrord.session.programless import Linked

_USAGE: Final = "mirrord dump -t TARGET [-p PORT]... [FLAGS]"
_DESCRIPTION: Final = """\
Print a copy of what clients send to ports of the target, as it is. Without -p that
is every port that the pod's containers name. Ctrl-C ends it."""
_STDOUT: Final = 1


def main(arguments: list[str]) -> int:
    """Print until a signal; raise MirrordError."""
    parser = linked.parser("mirrord dump", _USAGE, _DESCRIPTION)
    parser.add_argument(
        *("-p", "--ports"),
        action="append",
        type=int,
        default=[],
        metavar="PORT",
        help="a port; may be repeated",
    )
    values = vars(parser.parse_args(arguments))
    ports = values["ports"]
    options = linked.options(values)

    from mirrord.session.programless import run

    return run(options, lambda linked: _dump(linked, ports))


async def _dump(linked: "Linked", ports: list[int]) -> None:
    wanted = ports or list(linked.target.ports)
    if not wanted:
        raise UsageError("the target names no ports", remedy="name those that are meant: -p PORT")
    places = linked.places(Printer().take, "mirror")
    await asyncio.gather(*map(places.subscribe, wanted))
    await asyncio.get_running_loop().create_future()


class Printer:
    """Writes what arrives to standard output; a line says whose it is when that changes."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, place: "Place", event: "Arrived") -> None:
        """Write what one connection brings."""
        stream = place.channel.stream(event.stream)
        stream.mute()
        remote, local = event.remote, event.local
        who = f"{remote.host}:{remote.port} to {place.name}, {local.host}:{local.port}"
        task = asyncio.get_running_loop().create_task(self._print(stream, who))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _print(self, stream: "Stream", who: str) -> None:
        from mirrord_agent.wire.errors import ChannelClosed, StreamReset

        reader = stream.reader()
        try:
            while piece := await reader.read():
                self._write(piece, who)
        except StreamReset:
            self._write(b"(reset)\n", who)
        except ChannelClosed:
            # that ends the command
            return

    def _write(self, piece: bytes | bytearray | memoryview, who: str) -> None:
        if os.isatty(_STDOUT):
            from mirrord.session.say import visible

            text = bytes(piece).replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace")
            piece = visible(text).encode()
        if who != self._last:
            _write_all(f"\n-- {who}\n".encode())
            self._last = who
        _write_all(piece)


def _write_all(data: bytes | bytearray | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(_STDOUT, left) :]
