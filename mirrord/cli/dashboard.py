"""The command line of ``mirrord dashboard``."""

import os
from typing import Final

from mirrord.cli.parser import Parser
from mirrord.errors import UsageError

_USAGE: Final = "mirrord dashboard [SESSION]"
_DESCRIPTION: Final = """\
Show a session that runs already, by `mirrord exec` in another terminal, as
`mirrord trace` shows its own. Leaving it leaves the session alone."""


def main(arguments: list[str]) -> int:
    """Show one session until it ends or the user leaves; raise MirrordError."""
    parser = Parser("mirrord dashboard", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("session", nargs="?", metavar="SESSION", help="its id, or the start of it")
    word: str | None = parser.parse_args(arguments).session
    require_terminal()

    from mirrord.dashboard import app, guard
    from mirrord.feed.frames import Kind
    from mirrord.trace.sessions import find

    _, client = find(word)
    client.ask(Kind.SELDOM)
    client.ask(Kind.WATCH)
    return guard.run_alone(lambda: app.show(client, None))


def require_terminal() -> None:
    """Raise UsageError where there is no terminal to draw on."""
    remedy = "use mirrord trace --plain"
    if not os.isatty(1):
        raise UsageError("the dashboard needs a terminal", remedy=remedy)

    from mirrord.dashboard import terminal

    if terminal.look() is None:
        name = os.environ.get("TERM", "")
        raise UsageError(f"this terminal can show no dashboard (TERM={name})", remedy=remedy)
