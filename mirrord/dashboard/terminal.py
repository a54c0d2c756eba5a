"""What the user's terminal can do: by terminfo(5), and by the locale that its programs are to speak.

Standard library only. Drawing takes the sequences of ECMA-48 for granted, which all terminals have in common
that are still met; what differs is asked for here.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Colours = Literal["standard", "256", "truecolor"]
"""As rich calls them."""
_PADDING: Final = re.compile(rb"\$<[^>]*>")
_HOME: Final = b"\x1b[1;1H"
_CLEAR: Final = b"\x1b[H\x1b[2J"
_PLAIN: Final = b"\x1b[?2004l\x1b[0m"
"""End bracketed paste, no colour (xterm's ctlseqs)."""
_NOTHING_KNOWN: Final = ("", "dumb", "unknown")
_LOCALE: Final = ("LC_ALL", "LC_CTYPE", "LANG")
"""The first one that is set holds (locale(7))."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """One kind of terminal."""

    enter: bytes = b"\x1b[?1049h\x1b[?25l" + _CLEAR
    """Take the screen: the alternate one, where there is one."""
    leave: bytes = b"\x1b[?1049l\x1b[?25h" + _PLAIN
    """Give it back; without an alternate screen it is left empty."""
    colours: Colours | None = "standard"
    """None for a terminal without any, and for who does not want them."""
    unicode: bool = True
    """Whether more than ASCII may be drawn."""


def look(environment: Mapping[str, str] = os.environ) -> Terminal | None:
    """Return what the terminal can do, None where nothing can be drawn on it.

    One that terminfo has no entry for is taken for one of xterm's kind.
    """
    name = environment.get("TERM", "")
    if name in _NOTHING_KNOWN:
        return None
    known = _entry(name)
    if known is None:
        return Terminal(colours=_colours(8, environment), unicode=_speaks_utf8(environment))
    if not known.moves_cursor:
        return None
    return Terminal(
        enter=known.start + known.hide + _CLEAR,
        leave=(known.stop or _CLEAR) + known.show + _PLAIN,
        colours=_colours(known.colours, environment),
        unicode=_speaks_utf8(environment),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """What terminfo says of a terminal."""

    colours: int
    moves_cursor: bool
    """By ECMA-48's own sequence."""
    start: bytes
    stop: bytes
    hide: bytes
    show: bytes


def _entry(name: str) -> _Entry | None:
    try:
        import curses
    except ImportError:
        # a Python that was built without it
        return None
    with contextlib.suppress(curses.error), open(os.devnull) as nothing:
        # its size is not asked for
        curses.setupterm(name, nothing.fileno())
        move = curses.tigetstr("cup")
        start, stop, hide, show = (
            _PADDING.sub(b"", curses.tigetstr(which) or b"") for which in ("smcup", "rmcup", "civis", "cnorm")
        )
        moved = _PADDING.sub(b"", curses.tparm(move, 0, 0)) if move else b""
        return _Entry(curses.tigetnum("colors"), moved == _HOME, start, stop, hide, show)
    return None


def _colours(count: int, environment: Mapping[str, str]) -> Colours | None:
    if count < 8 or environment.get("NO_COLOR"):
        return None
    if count >= 1 << 24 or environment.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return "truecolor"
    return "256" if count >= 256 else "standard"


def _speaks_utf8(environment: Mapping[str, str]) -> bool:
    """Tell whether the locale is one of UTF-8, by its name: who logs in from elsewhere often has one that is
    not installed here. Where none is named, nothing speaks against it.
    """
    named = next((value for name in _LOCALE if (value := environment.get(name))), "UTF-8")
    return "utf8" in named.lower().replace("-", "")
