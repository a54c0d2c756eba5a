import os

import pytest

from mirrord.dashboard.output import Output


def shown(output: Output) -> list[str]:
    output.settle()
    return [line.plain.rstrip() for line in output.drawn(cursor=False)]


def test_it_is_a_terminal() -> None:
    output = Output(None, columns=10, lines=3)
    output.feed(b"one\r\ntwo\x1b[1;1HO\x1b[31m!\x1b[0m")
    assert shown(output) == ["O!e", "two", ""]
    assert [str(span.style) for span in output.drawn(cursor=False)[0].spans] == ["red"]


def test_of_a_flood_the_end_is_shown_exactly() -> None:
    lines = b"".join(b"%d \x1b[3%dmred\r\n" % (number, number % 8) for number in range(20_000))
    flooded, slow = Output(None, columns=20, lines=5), Output(None, columns=20, lines=5)
    flooded.feed(lines)
    for at in range(0, 3000, 1000):
        slow.feed(lines[-3000:][at : at + 1000])
        slow.settle()
    assert shown(flooded) == shown(slow) == [*(f"{number} red" for number in range(19_996, 20_000)), ""]
    assert flooded.drawn(cursor=False)[0].spans == slow.drawn(cursor=False)[0].spans


def test_a_flood_that_moves_the_cursor_is_drawn_in_full() -> None:
    output = Output(None, columns=20, lines=5)
    output.feed(b"\x1b[5;1Hlow\x1b[1;1H" + b"x\r" * 20_000)
    assert shown(output) == ["x", "", "", "", "low"]


def test_what_is_left_are_the_last_lines() -> None:
    output = Output(None, columns=20, lines=5)
    output.feed(b"".join(b"line %d\r\n" % number for number in range(50)))
    output.settle()
    assert output.last(2) == b"line 48\r\nline 49\r\n\x1b[0m"
    output.feed(b"\x1b[2J\x1b[1;1Ha form")
    output.settle()
    assert output.last(2) == b"a form\r\n"


def test_questions_to_the_terminal_are_answered() -> None:
    reading, writing = os.pipe()
    output = Output(writing, columns=20, lines=5)
    output.feed(b"ab\x1b[6n")
    output.settle()
    assert os.read(reading, 100) == b"\x1b[1;3R"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(("size", "taken"), [((30, 4), True), ((20, 5), False), ((0, 0), False)])
def test_the_size_is_taken(size: tuple[int, int], taken: bool) -> None:
    assert Output(None, columns=20, lines=5).resize(*size) is taken
