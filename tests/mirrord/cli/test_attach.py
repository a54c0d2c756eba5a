import pytest

from mirrord.cli.attach import detach, parse
from mirrord.config.options import AttachOptions, ExecOptions
from mirrord.errors import UsageError


def options(line: str) -> AttachOptions:
    return parse(line.split(), read_stdin=lambda: "{}")


@pytest.mark.parametrize(
    "line", ["-t sandbox -v 1234", "1234 -t sandbox -v", "-v 1234 -t sandbox", "-vtsandbox 1234"]
)
def test_flags_stand_where_they_like(line: str) -> None:
    session = ExecOptions(program=(), target="sandbox", verbosity=1)
    assert options(line) == AttachOptions(pid=1234, descendants=False, session=session)


@pytest.mark.parametrize("line", ["--descendants 7", "7 --descendants"])
def test_descendants(line: str) -> None:
    assert options(line).descendants


def test_a_configuration_on_standard_input() -> None:
    assert options("-f - 7").session.stdin_config == "{}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no process was given"),
        ("-t sandbox", "no process was given"),
        ("top", "`top` is no process id"),
        ("0", "`0` is no process id"),
        ("²", "`²` is no process id"),
        ("7 8", "`8` is one process too many"),
        ("-s A 7", "-s cannot be used here: the environment"),
        ("--override-env-vars-exclude=A 7", "--override-env-vars-exclude cannot be used here"),
        ("7 --env-file x", "--env-file cannot be used here"),
        ("--stael 7", "unknown flag --stael"),
        ("--engine strace 7", "--engine"),
    ],
)
def test_what_is_wrong(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options(line)


def test_an_engine() -> None:
    assert options("--engine ptrace 7").session.engine == "ptrace"


def test_detach_wants_a_process() -> None:
    with pytest.raises(UsageError, match="no process id"):
        detach(["server"])
    with pytest.raises(UsageError, match="PID"):
        detach([])
