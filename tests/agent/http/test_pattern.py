"""Regular expressions of filters."""

import pytest
from mirrord_agent.http.pattern import Pattern


def test_case_is_ignored_and_the_text_kept() -> None:
    assert Pattern("aBc").search("xABCx")
    assert not Pattern("^b").search("abc")
    assert Pattern("aBc").text == "aBc"


def test_what_backtracks_without_end_does_not_match() -> None:
    assert not Pattern(r"^((a+)+)+\1$").search("a" * 40 + "b" + "a" * 41)


def test_what_is_none_is_said() -> None:
    with pytest.raises(ValueError, match=r"`\(x` is not a regular expression"):
        Pattern("(x")
