import contextlib
import errno
import os
import socket
import subprocess

import pytest
from mirrord_seccomp.syscalls import current_arch, number
from rich.console import Console

from mirrord.dashboard.board import Board
from mirrord.dashboard.choice import PANES, Choice, Mode, Pane
from mirrord.dashboard.output import Output
from mirrord.dashboard.panes import HELP, _text
from mirrord.dashboard.view import View
from mirrord.feed.models import Connection, Exchange, LinkState, Note, Rules, SessionInfo, State
from mirrord.link.addresses import Peer, pack
from mirrord.tracer.record import Answer, ThreadRecord, pack_call, pack_thread

OPENAT = number("openat", current_arch()) or 0
RULES = Rules(
    fs="{}",
    network='{"incoming": {}, "outgoing": {"filter": {}}, "dns": {"filter": {}}}',
    aws=False,
    cwd="/work",
    home=None,
    tmpdir="/tmp",
    executable="/bin/true",
    code=(),
    search=(),
)
INFO = SessionInfo(
    id="abcdef01",
    front=1,
    supervisor=2,
    program=("a program", "with\nlines"),
    pid=3,
    target="a [red]target[/red]",
    remote=("DNS",),
    started=0.0,
    clock=0,
    user=0,
    rules=RULES,
)


def opened(path: bytes, answer: Answer, result: int, milliseconds: int = 1) -> bytes:
    return pack_call(
        tid=5,
        number=OPENAT,
        args=(2**64 - 100, 0x1000, 0, 0, 0, 0),
        answer=answer,
        held=answer is not Answer.CONTINUED,
        result=result,
        began=0,
        ended=milliseconds * 1_000_000,
        read=[(0x1000, path + b"\0")],
        written=(),
        here=((0x1000, b"/tree/x"),) if answer is Answer.GAVE_FD else (),
    )


@pytest.fixture
def board() -> Board:
    made = Board()
    made.begin(INFO)
    made.take(pack_thread(ThreadRecord(tid=5, pid=os.getpid(), parent=1, name="a [b]name")))
    for index in range(100):
        made.take(opened(b"/usr/lib/%d" % index, Answer.CONTINUED, 0))
    made.take(opened(b"/app/[bold]x", Answer.GAVE_FD, 3, 20))
    made.take(opened(b"/app/nothing", Answer.FAILED, -2, 5))
    connection = Connection(
        id=1,
        protocol="tcp",
        remote="[fd00::1]:80",
        local="[fd00::2]:1",
        program="127.0.0.1:2",
        state="established",
        sent=10,
        received=2**31,
    )
    made.state(State(connections=(connection,), link=LinkState(round_trip=0.001, sent=1, received=2)))
    made.note(Note(time=0, kind="file", text="/app/[bold]x", size=5))
    made.note(Note(time=0, kind="question", text="web A"))
    made.exchange(Exchange(id=1, time=0, remote="10.1.1.1:5", port=8080, request="GET /[bold]y"))
    made.exchange(Exchange(id=2, time=0, remote="10.1.1.1:6", port=8080, request="GET /waits"))
    asked = made.exchanges[1].asked
    made.exchange(asked.model_copy(update={"time": 2_000_000, "status": 404}))
    made.tick()
    return made


def lines(view: View, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, color_system=None, force_terminal=True)
    rendered = console.render_lines(
        view.draw(width, height), console.options.update_dimensions(width, height), pad=True
    )
    return ["".join(segment.text for segment in line) for line in rendered]


@pytest.mark.parametrize("size", [(60, 15), (79, 40), (80, 24), (119, 50), (120, 40), (200, 60), (300, 20)])
@pytest.mark.parametrize("pane", PANES)
@pytest.mark.parametrize("mode", [Mode.LOOK, Mode.HELP, Mode.TYPE, Mode.SEARCH, Mode.DETAILS])
def test_it_fits_every_size(board: Board, size: tuple[int, int], pane: Pane, mode: Mode) -> None:
    choice = Choice(pane=pane, mode=mode, chosen=board.calls[-1])
    drawn = lines(View(board, choice, Output(None)), *size)
    assert len(drawn) == size[1]
    assert all(len(line) == size[0] for line in drawn)
    assert "abcdef01" in drawn[0]


def test_brackets_are_no_markup(board: Board) -> None:
    text = "\n".join(lines(View(board, Choice(), None), 200, 60))
    for shown in ("/app/[bold]x", "[fd00::1]:80", "[fd00::2]:1", "a [b]name", "a [red]target[/red]"):
        assert shown in text


def test_requests_have_their_status(board: Board) -> None:
    text = lines(View(board, Choice(pane=Pane.REQUESTS), None), 80, 24)
    (answered,) = (line for line in text if "GET /[bold]y" in line)
    (waiting,) = (line for line in text if "GET /waits" in line)
    assert "404" in answered
    assert "2 ms" in answered
    assert "10.1.1.1:5 → 8080" in answered
    assert "…" in waiting
    assert "GET /[bold]y" in "\n".join(lines(View(board, Choice(), None), 200, 60))


@pytest.mark.parametrize(("size", "label"), [((80, 24), "1 ms trip"), ((200, 60), "1 ms round trip")])
def test_the_links_row_is_one_line(board: Board, size: tuple[int, int], label: str) -> None:
    text = lines(View(board, Choice(), None), *size)
    assert any("link" in line and label in line for line in text)


def test_too_small_a_terminal_is_told(board: Board) -> None:
    assert "60×15 are needed" in lines(View(board, Choice(), None), 59, 30)[0]


def test_of_processes_that_have_ended_the_number_is_shown(board: Board) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            ended = stack.enter_context(subprocess.Popen(["true"]))
            thread = ThreadRecord(tid=ended.pid, pid=ended.pid, parent=os.getpid(), name="gone")
            board.take(pack_thread(thread))
            # its parent has not waited for it yet
            os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        text = lines(View(board, Choice(pane=Pane.PROCESSES), None), 60, 15)
    assert not any("gone" in line for line in text)
    assert any("a [b]name" in line and str(os.getpid()) in line for line in text)
    assert any(line.split()[1:3] == ["3", "ended"] for line in text)


def test_more_processes_than_there_is_room_for_are_counted(board: Board) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            sleeper = stack.enter_context(subprocess.Popen(["sleep", "60"]))
            stack.callback(sleeper.kill)
            board.take(pack_thread(ThreadRecord(tid=sleeper.pid, pid=sleeper.pid, parent=1, name="sleeps")))
        text = lines(View(board, Choice(pane=Pane.PROCESSES), None), 60, 15)
    shown = sum("sleeps" in line for line in text)
    assert any(f"and {20 - shown} more" in line for line in text)


def test_the_smallest_screen_has_all_keys_and_why(board: Board) -> None:
    text = "\n".join(lines(View(board, Choice(mode=Mode.HELP), None), 60, 15))
    assert all(what in text for _, what in HELP)
    text = "\n".join(lines(View(board, Choice(mode=Mode.DETAILS, chosen=board.calls[-1]), None), 60, 15))
    assert "why" in text
    assert "went" in text
    assert "O_RDONLY" in text


@pytest.mark.parametrize(
    ("arguments", "width", "text"),
    [
        (
            ("AT_FDCWD", '"/usr/lib/python3/x.py"', "O_RDONLY"),
            60,
            'openat(AT_FDCWD, "/usr/lib/python3/x.py", O_RDONLY)',
        ),
        (("AT_FDCWD", '"/usr/lib/python3/x.py"', "O_RDONLY"), 40, "openat(/usr/lib/python3/x.py)"),
        (("AT_FDCWD", '"/usr/lib/python3/x.py"', "O_RDONLY"), 20, "openat(…ython3/x.py)"),
    ],
)
def test_of_a_long_call_what_it_is_about_is_shown(
    board: Board, arguments: tuple[str, ...], width: int, text: str
) -> None:
    call = board.calls[-1]
    call._arguments = arguments
    assert _text(call, width) == text
    assert len(text) <= width


def test_of_a_long_connect_the_address_is_shown(board: Board) -> None:
    board.take(
        pack_call(
            tid=5,
            number=number("connect", current_arch()) or 0,
            args=(3, 0x1000, 16, 0, 0, 0),
            answer=Answer.FAILED,
            held=False,
            result=-errno.EINPROGRESS,
            began=0,
            ended=1,
            read=[(0x1000, pack(Peer("10.1.2.3", 80), socket.AF_INET))],
            written=(),
        )
    )
    assert _text(board.calls[-1], 30) == "connect(10.1.2.3:80)"
    assert board.calls[-1] not in board.failed, "it has begun, and has not failed"


def shown(board: Board, keys: str) -> list[str]:
    choice = Choice()
    for key in keys:
        choice.key(key, board)
    return [call.arguments[1] for call in choice.calls(board, 50)]


def test_filters_and_orders(board: Board) -> None:
    assert shown(board, "r") == ['"/app/nothing"', '"/app/[bold]x"']
    assert shown(board, "e") == ['"/app/nothing"']
    assert shown(board, "o")[:2] == ['"/app/[bold]x"', '"/app/nothing"']
    assert shown(board, "/lib/42") == ['"/usr/lib/42"']
    assert shown(board, "ff") == []
    assert len(shown(board, "frec")) == 50


def test_a_paused_view_stays(board: Board) -> None:
    choice = Choice()
    choice.key("p", board)
    board.take(opened(b"/app/later", Answer.FAILED, -2))
    assert "later" not in choice.calls(board, 1)[0].arguments[1]
    choice.key("p", board)
    assert "later" in choice.calls(board, 1)[0].arguments[1]


def test_a_call_is_selected_and_all_of_it_shown(board: Board) -> None:
    choice = Choice()
    choice.calls(board, 10)
    for key in ("down", "enter"):
        choice.key(key, board)
    text = "\n".join(lines(View(board, choice, None), 80, 24))
    assert choice.mode is Mode.DETAILS
    assert "after waiting for the target" in text
    assert '"/app/[bold]x" → "/tree/x"' in text
    assert "why" in text
