import pytest

from mirrord.cli import trace
from mirrord.cli.options import parse_with
from mirrord.errors import UsageError
from mirrord.trace.options import TraceOptions


def own(*arguments: str) -> TraceOptions:
    return trace._options(parse_with(trace._TRACE, [*arguments, "--", "true"])[1])


def test_its_flags_stand_beside_those_of_exec() -> None:
    options, own = parse_with(trace._TRACE, ["-t", "sandbox", "-o", "file", "-e", "files", "-q", "ls", "-o"])
    assert (options.target, options.quiet, options.program) == ("sandbox", True, ("ls", "-o"))
    assert (own["output"], own["only"]) == ("file", "files")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("files", {"files"}),
        ("trace=openat,connect", {"openat", "connect"}),
        ("remote,names", {"remote", "names"}),
    ],
)
def test_what_to_show(text: str, words: set[str]) -> None:
    assert own("-e", text).selection == words


def test_one_way_of_writing_at_a_time() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        own("--json", "--summary")


@pytest.mark.parametrize("text", ["filess", ",", "openat2000"])
def test_what_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        own("-e", text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--attach 7 -- ls", "exclude each other"),
        ("--attach top", "`top` is no process id"),
        ("--descendants -- ls", "is for --attach"),
        ("--attach 7 -s A", "-s cannot be used here: the environment"),
        ("--plain", "no program was given"),
        ("--results --engine notify -- ls", "--results needs the engine ptrace"),
        ("--results --engine notify --attach 7", "--results needs the engine ptrace"),
        ("--pcap x -- ls", "--pcap needs a target"),
    ],
)
def test_a_program_or_a_process(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        trace.main(line.split())


def test_a_variable_names_the_engine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRRORD_ENGINE", "notify")
    with pytest.raises(UsageError, match="--results needs the engine ptrace"):
        trace.main(["--results", "--", "ls"])
