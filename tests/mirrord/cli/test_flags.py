import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.cli.flags import FLAGS, split_program
from mirrord.errors import UsageError


@pytest.mark.parametrize(
    ("line", "own", "program"),
    [
        ("-t sandbox java -classpath x", 2, "java -classpath x"),
        ("-t sandbox -- -q", 2, "-q"),
        ("-tsandbox ls -t", 1, "ls -t"),
        ("--target=sandbox ls", 1, "ls"),
        ("-qvv ls -q", 1, "ls -q"),
        ("-qt sandbox ls", 2, "ls"),
        ("-qtsandbox ls", 1, "ls"),
        ("-f -q ls", 2, "ls"),
        ("-f m.json ls", 2, "ls"),
        ("-f - ls", 2, "ls"),
        ("-f -- ls", 1, "ls"),
        ("ls -- -t", 0, "ls -- -t"),
        ("-q", 1, ""),
        ("-t", 1, ""),
        ("", 0, ""),
    ],
)
def test_the_program_begins_at_the_first_word_that_is_not_ours(line: str, own: int, program: str) -> None:
    words = line.split()
    assert split_program(words) == (words[:own], program.split())


@pytest.mark.parametrize(
    ("line", "near"),
    [("--taget x", "--target"), ("--nooutgoing", "--no-outgoing"), ("--config x", "--config-file")],
)
def test_an_unknown_flag_names_the_nearest(line: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {near}"):
        split_program(line.split())


@pytest.mark.parametrize("argument", ["-z", "-qz", "--xyzzy", "--=x"])
def test_unknown_flags(argument: str) -> None:
    with pytest.raises(UsageError, match=f"unknown flag {argument.partition('=')[0]}"):
        split_program([argument, "ls"])


@pytest.mark.parametrize("flag", [name for flag in FLAGS if not flag.supported for name in flag.names])
def test_flags_of_things_not_built_yet(flag: str) -> None:
    with pytest.raises(UsageError, match=f"{flag}.* is not supported yet"):
        split_program(["-t", "sandbox", flag, "x", "ls"])


@given(st.lists(st.text()))
def test_what_follows_the_separator_is_never_looked_at(words: list[str]) -> None:
    assert split_program(["-t", "sandbox", "--", *words]) == (["-t", "sandbox"], words)
    assert split_program(["-t", "sandbox", "ls", *words]) == (["-t", "sandbox"], ["ls", *words])


@given(st.lists(st.sampled_from(["-t", "-q", "-f", "-v", "--key", "x", "--", "-", "--no-outgoing"])))
def test_nothing_is_lost(words: list[str]) -> None:
    own, program = split_program(words)
    assert words in (own + program, [*own, "--", *program])
