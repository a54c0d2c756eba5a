import io
import os
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from mirrord.dashboard.painter import Painter

SIZE = (12, 3)
LINE = st.text("ab ", min_size=SIZE[0], max_size=SIZE[0])
FRAMES = st.lists(st.lists(LINE, min_size=SIZE[1], max_size=SIZE[1]), min_size=1, max_size=6)


def painter(*, unicode: bool = True, **options: Any) -> Painter:
    fixed = {"file": io.StringIO(), "force_terminal": True, "width": SIZE[0], "height": SIZE[1]}
    console = Console(**{**fixed, "color_system": "256", **options})
    return Painter(console, unicode=unicode)


def frame(*texts: str, style: Style | None = None) -> list[list[Segment]]:
    return [[Segment(text[:2], style), Segment(text[2:])] for text in texts]


@given(FRAMES)
def test_the_terminal_shows_the_last_frame(frames: list[list[str]]) -> None:
    screen, painted = pyte.Screen(*SIZE), painter()
    stream = pyte.Stream(screen)
    for texts in frames:
        stream.feed(painted.paint(frame(*texts, style=Style(bold=True)), SIZE))
    assert screen.display == frames[-1]


def test_only_what_has_changed_is_written() -> None:
    painted = painter()
    assert painted.paint(frame("one", "two", "three"), SIZE).count("\x1b[") == 3
    assert painted.paint(frame("one", "two", "three"), SIZE) == ""
    assert painted.paint(frame("one", "2", "three"), SIZE) == "\x1b[2;1H2"


@pytest.mark.parametrize("size", [SIZE, (SIZE[0], SIZE[1] + 1)])
def test_everything_is_written_again_where_the_terminal_may_show_something_else(
    size: tuple[int, int],
) -> None:
    painted = painter()
    first = painted.paint(frame("one", "two"), SIZE)
    if size == SIZE:
        painted.forget()
    assert painted.paint(frame("one", "two"), size) == first


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({}, "\x1b[1;31mon\x1b[0m"),
        ({"no_color": True}, "\x1b[1mon\x1b[0m"),
        ({"color_system": None}, "on"),
    ],
)
def test_terminals_without_colours_get_none(options: dict[str, Any], written: str) -> None:
    lines = frame("one", style=Style(bold=True, color="red"))
    assert painter(**options).paint(lines, SIZE) == f"\x1b[1;1H{written}e"


def test_it_writes_as_rich_does() -> None:
    styles = [Style(bold=True, color="red"), Style(reverse=True), Style(dim=True, color="#aabbcc"), None]
    for style in styles:
        console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=SIZE[0])
        with console.capture() as capture:
            console.out("text", style=style, highlight=False, end="")
        painted = Painter(console).paint([[Segment("text", style)]], SIZE)
        assert painted == f"\x1b[1;1H{capture.get()}", os.environ.get("NO_COLOR")


def test_a_terminal_that_knows_ascii_only_gets_as_wide_a_line() -> None:
    painted = painter(unicode=False).paint([[Segment("╭─ ▶ 名 ▂█ µs")]], SIZE)
    assert painted == "\x1b[1;1H+- > ?? :# us"


def test_no_name_moves_the_cursor() -> None:
    name = "a\x1b[2J\x9b2Jb\r\x07\x7f"
    assert painter().paint([[Segment(name, Style(bold=True)), Segment(name)]], SIZE) == (
        "\x1b[1;1H\x1b[1ma[2J2Jb\x1b[0ma[2J2Jb"
    )
