"""How a session ends, and what a pipe sees of it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirrord_seccomp.syscalls import current_arch, number

from ..conftest import Line, Mirrord
from ..support.build import ROOT, SYSTEM_PYTHON
from ..support.processes import children, state
from ..support.running import Runner
from ..support.user import User
from ..support.waiting import until


@pytest.mark.sample("current-ptrace-3")
@pytest.mark.both_engines
@pytest.mark.both_users
@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_is_the_programs(mirrord: Mirrord, code: int) -> None:
    assert mirrord("sh", "-c", f"exit {code}").code == code


@pytest.mark.sample("SIGKILL|SIGSEGV")
@pytest.mark.both_engines
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGUSR1"])
def test_a_death_by_signal_is_the_programs(mirrord: Mirrord, name: str) -> None:
    assert mirrord("sh", "-c", f"kill -{name[3:]} $$").code == -signal.Signals[name]


@pytest.mark.both_engines
def test_a_program_that_is_not_there(mirrord: Mirrord) -> None:
    outcome = mirrord("no-such-program")

    assert outcome.code == 127
    assert "no-such-program" in outcome.err


@pytest.mark.both_engines
def test_a_program_that_cannot_be_executed(mirrord: Mirrord) -> None:
    source = str(ROOT / "pyproject.toml")

    outcome = mirrord(source)

    assert outcome.code == 126
    assert source in outcome.err


def test_no_target_is_a_wrong_usage(runner: Runner) -> None:
    outcome = runner.run([runner.user.mirrord, "exec", "--", "true"])

    assert outcome.code == 2
    assert "-t sandbox" in outcome.err


def test_a_sandbox_that_is_not_up_is_our_failure(runner: Runner) -> None:
    outcome = runner.run([runner.user.mirrord, "exec", "-t", "sandbox/nowhere", "--", "true"])

    assert outcome.code == 125
    assert outcome.out == ""
    assert "nowhere" in outcome.err


def test_a_session_inside_a_session_is_refused(mirrord: Mirrord, line: Line) -> None:
    outcome = mirrord(*line("true"))

    assert outcome.code == 125
    assert "Traceback" not in outcome.err


def test_standard_input_and_output_are_the_programs(mirrord: Mirrord) -> None:
    text = "line\n" * 50000

    assert mirrord("cat", input=text).out == text


def test_quiet_says_nothing(mirrord: Mirrord) -> None:
    outcome = mirrord("sh", "-c", "echo error >&2", options=["-q"])

    assert outcome.err == "error\n"


def test_before_the_program_starts_it_is_said_what_is_remote(mirrord: Mirrord) -> None:
    said = mirrord("true").err

    assert "target" in said
    assert "remote" in said
    assert "local" in said


@pytest.mark.both_engines
def test_a_reader_that_ends_early_ends_the_program(line: Line, runner: Runner) -> None:
    with runner.start(line("yes", options=["-q"]), reads=False) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "y\n"
        process.stdout.close()
        assert process.wait(20) == -signal.SIGPIPE


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_a_signal_to_the_front_reaches_the_program(line: Line, runner: Runner, name: str) -> None:
    script = f"trap 'echo got; exit 7' {name[3:]}; echo ready; while :; do sleep 0.05; done"
    with runner.start(line("sh", "-c", script, options=["-q"]), reads=False) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.Signals[name])
        assert process.stdout.readline() == "got\n"
        assert process.wait(20) == 7


@pytest.mark.both_engines
def test_a_signal_to_the_group_reaches_the_program_once(line: Line, runner: Runner) -> None:
    program = (
        "import signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])\n"
        "print('ready', flush=True)\n"
        "count = 0\n"
        "while signal.sigwait([signal.SIGUSR1, signal.SIGUSR2]) == signal.SIGUSR1:\n"
        "    count += 1\n"
        "    print('got', flush=True)\n"
        "print(count, flush=True)\n"
    )
    with runner.start(line(SYSTEM_PYTHON, "-S", "-c", program, options=["-q"]), reads=False) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGUSR1)
        assert process.stdout.readline() == "got\n"
        process.send_signal(signal.SIGUSR2)
        assert process.stdout.readline() == "1\n"
        assert process.wait(20) == 0


@pytest.mark.both_engines
def test_a_stopped_program_stops_the_front(line: Line, runner: Runner) -> None:
    with runner.start(line("sh", "-c", "kill -STOP $$; echo again", options=["-q"]), reads=False) as process:
        assert process.stdout is not None
        until("the front is stopped", lambda: state(process.pid) == "T")
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "again\n"
        assert process.wait(20) == 0


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1", "1 2", "0 2", "0 1 2"])
def test_standard_streams_that_are_closed_are_closed_for_the_program(
    line: Line, runner: Runner, user: User, closed: str
) -> None:
    file = user.home / "open"
    # the shell itself opens nothing in their place
    look = "test -e /proc/$$/fd/$fd && echo $fd >&9"
    listing = f"exec 9>{file}; for fd in 0 1 2; do {look}; done; true"
    session = line("sh", "-c", listing, options=["-q"])
    redirections = " ".join(f"{fd}<&-" for fd in closed.split())

    outcome = runner.run(["sh", "-c", f'exec "$@" {redirections}', "sh", *session], input="")

    assert outcome.code == 0, outcome.err
    assert file.read_text().split() == [fd for fd in ("0", "1", "2") if fd not in closed.split()]


def test_a_program_runs_in_a_directory_that_is_gone(runner: Runner, line: Line, user: User) -> None:
    folder = user.home / "gone"
    folder.mkdir()
    script = f'cd {folder} && rmdir {folder} && exec "$@"'

    outcome = runner.run(["sh", "-c", script, "sh", *line("uname", "-n", options=["-q"])])

    assert outcome.lines == [line.sandbox.hostname]


@pytest.fixture
def endless(user: User) -> Iterator[Path]:
    """A configuration that nobody writes: a session that reads it never starts."""
    path = user.home / "endless.json"
    os.mkfifo(path, 0o600)
    yield path
    path.unlink()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_session_that_is_still_starting_can_be_ended(
    line: Line, runner: Runner, endless: Path, name: str
) -> None:
    with runner.start(line("true", options=["-q", "-f", str(endless)]), reads=False) as process:
        until("the supervisor reads its configuration", lambda: _reads(process.pid))
        process.send_signal(signal.Signals[name])
        assert process.wait(20) == -signal.Signals[name]


def test_a_session_that_is_still_starting_ends_with_its_front(
    line: Line, runner: Runner, endless: Path
) -> None:
    with runner.start(line("true", options=["-q", "-f", str(endless)]), reads=False) as process:
        until("the supervisor reads its configuration", lambda: _reads(process.pid))
        process.kill()
        assert process.stderr is not None
        assert "its front died" in process.stderr.read()


def test_an_interrupt_while_the_configuration_is_typed_is_no_traceback(line: Line, runner: Runner) -> None:
    with runner.start(line("true", options=["-f", "-"])) as process:
        until("it waits for its configuration", lambda: _reads_input(process.pid))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
        assert process.stderr is not None
        assert process.stderr.read() == ""


def _reads(front: int) -> bool:
    """Tell whether the supervisor waits at its configuration: it has left the job's session by then."""
    keepers = children(front)
    supervisors = [pid for keeper in keepers for pid in children(keeper)]
    return bool(supervisors) and os.getsid(supervisors[0]) == supervisors[0]


def _reads_input(pid: int) -> bool:
    call = Path(f"/proc/{pid}/syscall").read_text().split()
    return call[:2] == [str(number("read", current_arch())), "0x0"]
