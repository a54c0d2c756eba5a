import subprocess
import sys

import pytest

from mirrord.dashboard.terminal import Terminal, look

LOOK = "from mirrord.dashboard.terminal import *; from sys import argv; print(look({'TERM': argv[1]}))"
"""In a process of its own: curses looks at one terminal only."""


def _of(name: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", LOOK, name], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("xterm-256color", ["1049h", "?25l", "1049l", "?25h", "colours='256'"]),
        ("linux", ["?25l", "?25h", "colours='standard'"]),
        ("vt100", ["leave=b'\\x1b[H\\x1b[2J\\x1b[?2004l", "colours=None"]),
        ("one-that-nobody-knows", ["1049h", "1049l", "colours='standard'"]),
    ],
)
def test_what_terminfo_says_is_used(name: str, said: list[str]) -> None:
    found = _of(name)
    assert not [word for word in said if word not in found], found
    assert ("1049" in found) == ("1049h" in said)
    # how long to wait is for real ones
    assert "$<" not in found


@pytest.mark.parametrize("name", ["", "dumb", "unknown", "vt52"])
def test_what_cannot_be_drawn_on(name: str) -> None:
    assert _of(name) == "None\n"


UNKNOWN = {"TERM": "one-that-nobody-knows"}


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({"NO_COLOR": "1"}, None),
        ({"NO_COLOR": ""}, "standard"),
        ({"COLORTERM": "truecolor"}, "truecolor"),
        ({"COLORTERM": "24bit", "NO_COLOR": "1"}, None),
    ],
)
def test_colours_are_as_wanted(environment: dict[str, str], colours: str | None) -> None:
    found = look(UNKNOWN | environment)
    assert isinstance(found, Terminal)
    assert found.colours == colours


@pytest.mark.parametrize(
    ("environment", "unicode"),
    [
        ({}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "de_DE.utf8", "LC_CTYPE": "POSIX"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": "C"}, True),
        ({"LC_ALL": "de_DE.ISO-8859-1", "LANG": "C.UTF-8"}, False),
    ],
)
def test_the_locale_tells_what_may_be_drawn(environment: dict[str, str], unicode: bool) -> None:
    found = look(UNKNOWN | environment)
    assert isinstance(found, Terminal)
    assert found.unicode == unicode
