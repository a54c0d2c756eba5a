import asyncio
import json
from typing import Any

import pytest

from mirrord.errors import MirrordError, UsageError
from mirrord.session import say as module
from mirrord.session.say import Form, Sayings, form, say, say_error

MODE = "MIRRORD_PROGRESS_MODE"


def go(sayings: Sayings) -> None:
    """Start a session."""
    sayings.step("looking for it", "to find it")
    sayings.info("it is here")
    sayings.go_on("connecting", "to reach it")
    sayings.ready()
    sayings.warn("warning: mind it")


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", Form.STD), ("standard", Form.STD), ("simple", Form.DUMB), ("JSON", Form.JSON), ("off", Form.OFF)],
)
def test_forms(text: str, expected: Form) -> None:
    assert form({MODE: text}) is expected


def test_an_unknown_form() -> None:
    with pytest.raises(UsageError, match="`MIRRORD_PROGRESS_MODE` is `loud`; use std, dumb, json or off"):
        form({MODE: "loud"})


@pytest.mark.parametrize("mode", ["std", "dumb"])
def test_lines(mode: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(MODE, mode)
    go(Sayings(quiet=False, verbose=False))
    first, here, connecting, ready, warning = capfd.readouterr().err.splitlines()
    assert [first, here, connecting] == [
        "mirrord: looking for it",
        "mirrord: it is here",
        "mirrord: connecting",
    ]
    assert ready.startswith("mirrord: ready after 0.")
    assert ready.endswith(" s to reach it")
    assert " s to find it, " in ready
    assert warning == "mirrord: warning: mind it"


def test_what_others_chose_gives_no_orders_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """As a name of a file of the target."""
    say("warning: /app/\x1b[2J\r\x9b of the target\nis no file\t…")
    say_error(MirrordError("no \x1b]0;title\x07"))
    assert capfd.readouterr().err.splitlines() == [
        "mirrord: warning: /app/\\x1b[2J\\x0d\\x9b of the target",
        "is no file\t…",
        "mirrord: no \\x1b]0;title\\x07",
    ]


@pytest.mark.parametrize(("mode", "quiet"), [("off", False), ("dumb", True), ("std", True)])
def test_quiet(
    mode: str, quiet: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MODE, mode)
    go(Sayings(quiet=quiet, verbose=False))
    assert capfd.readouterr().err == "mirrord: warning: mind it\n"


def test_objects(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(MODE, "json")
    go(Sayings(quiet=False, verbose=False))
    said = lines(capfd.readouterr().err)
    for one in said:
        if one["type"] == "FinishedTask":
            assert " s to " in one.pop("message")
    whole = "mirrord exec"
    assert said == [
        {"type": "NewTask", "name": whole, "parent": None},
        {"type": "NewTask", "name": "looking for it", "parent": whole},
        {"type": "Info", "message": "it is here"},
        {"type": "FinishedTask", "name": "looking for it", "success": True},
        {"type": "NewTask", "name": "connecting", "parent": whole},
        {"type": "FinishedTask", "name": "connecting", "success": True},
        {"type": "FinishedTask", "name": whole, "success": True},
        {"type": "Warning", "message": "warning: mind it"},
    ]


def test_what_fails_as_objects(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(MODE, "json")
    sayings = Sayings(quiet=False, verbose=False)
    sayings.step("looking for it", "to find it")
    sayings.failed()
    *_, step, whole = lines(capfd.readouterr().err)
    assert (step["name"], step["success"]) == ("looking for it", False)
    assert (whole["name"], whole["success"]) == ("mirrord exec", False)

    say_error(MirrordError("it is not here", remedy="look there"))
    kind, _, described = capfd.readouterr().err.partition(": ")
    assert kind == "Error"
    assert json.loads(described) == {
        "message": "it is not here",
        "severity": "error",
        "help": "look there",
        "causes": [],
        "labels": [],
        "related": [],
    }
    say("it has ended")
    assert lines(capfd.readouterr().err) == [{"type": "Warning", "message": "it has ended"}]


def test_a_session_without_steps_says_nothing_of_them(capfd: pytest.CaptureFixture[str]) -> None:
    sayings = Sayings(quiet=False, verbose=False)
    sayings.go_on("connecting", "to reach it")
    sayings.ready()
    assert capfd.readouterr().err == ""


def test_on_a_terminal_a_step_is_shown_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(MODE, raising=False)
    monkeypatch.setattr("os.isatty", lambda fd: True)
    monkeypatch.setattr(module, "_TICK", 0.001)
    clear = "\r\x1b[K"
    shown = f"{clear}mirrord: looking for it"

    async def scenario() -> str:
        sayings = Sayings(quiet=False, verbose=False)
        sayings.step("looking for it", "to find it")
        written = ""
        while written.count(shown) < 3:
            await asyncio.sleep(0)
            written += capfd.readouterr().err
        sayings.info("it is here")
        sayings.ready()
        return capfd.readouterr().err

    rest = asyncio.run(scenario())
    info, _, last = rest.rpartition(f"{shown}{clear}")
    assert info.endswith(f"{clear}mirrord: it is here\n")
    assert last.startswith("mirrord: ready after ")


def test_a_step_that_is_taken_already(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MODE, "dumb")
    sayings = Sayings(quiet=False, verbose=False)
    sayings.step("looking for it", "to find it")
    sayings.step("looking for it", "to find it")
    sayings.ready()
    first, ready = capfd.readouterr().err.splitlines()
    assert first == "mirrord: looking for it"
    assert ready.count("to find it") == 1
