"""The command line of the doctor; what it finds is tested with the attempts."""

import pytest

from mirrord.cli import doctor
from mirrord.doctor.finding import Finding, Outcome
from mirrord.errors import UsageError

WORKS = Finding("one", Outcome.WORKS, "yes")
LACKS = Finding("two", Outcome.LACKS, "no", "it is slower", "renew it")
FAILS = Finding("three", Outcome.FAILS, "no", "nothing runs", "renew it")


@pytest.mark.parametrize("word", ["--jsn", "now"])
def test_what_it_does_not_know_is_a_wrong_usage(word: str) -> None:
    with pytest.raises(UsageError, match=word):
        doctor.main([word])


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ([WORKS], "Everything works"),
        ([WORKS, LACKS], "Sessions run on this machine, with the restrictions"),
        ([LACKS, FAILS], "Sessions cannot run on this machine"),
    ],
)
def test_the_last_line_is_the_answer(
    findings: list[Finding], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor._print(findings)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(said)
    assert ("    renew it" in lines) is (len({LACKS, FAILS} & set(findings)) > 0)
