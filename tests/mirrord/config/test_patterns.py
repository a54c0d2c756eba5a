import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.config.patterns import compile_pattern, compile_replacement, compile_wildcards


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^/APP", "/app/x", True),
        ("conf", "/etc/conf.d", True),
        ("conf$", "/a.conf\n", False),
        (r"conf\z", "/a.conf", True),
        (r"(?<name>a)\1", "aa", True),
        ("(?<=b)a", "ba", True),
        ("[[:digit:]]+x", "12x", True),
        ("[$]x", "$x", True),
        (r"\$x", "$x", True),
        ("[]a]x", "]x", True),
        ("é", "/É", True),
    ],
)
def test_patterns_mean_what_they_mean_in_rust(pattern: str, text: str, matches: bool) -> None:
    assert (compile_pattern(pattern).search(text) is not None) == matches


@pytest.mark.parametrize("pattern", ["(", "[", "*", r"\p{Greek}", "[[", "[a-z&&[^x]]", "[a--b]"])
def test_a_wrong_pattern_is_a_sentence(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        compile_pattern(pattern)


@given(st.text())
def test_every_pattern_compiles_or_is_refused(pattern: str) -> None:
    with suppress(ValueError):
        assert compile_pattern(pattern).flags & re.IGNORECASE


@given(st.text())
def test_an_escaped_text_finds_itself(text: str) -> None:
    assert compile_pattern(re.escape(text)).fullmatch(text)


@pytest.mark.parametrize(
    ("pattern", "replacement", "result"),
    [
        ("^/a/(.*)", "/b/$1", "/b/x"),
        ("^/a/(?<rest>.*)", "/b/${rest}y", "/b/xy"),
        ("^/a", "/$$", "/$/x"),
        ("^/a", r"/\1", r"/\1/x"),
        ("^(/a)(/z)?", "$1$2/c", "/a/c/x"),
        ("^/a", "$0$0", "/a/a/x"),
    ],
)
def test_replacements(pattern: str, replacement: str, result: str) -> None:
    compiled = compile_pattern(pattern)
    assert compiled.sub(compile_replacement(replacement, compiled), "/a/x", count=1) == result


@pytest.mark.parametrize("replacement", ["$2", "${x}", "$1a"])
def test_a_replacement_may_name_only_groups_that_are_there(replacement: str) -> None:
    with pytest.raises(ValueError, match="names the group"):
        compile_replacement(replacement, compile_pattern("(a)"))


@pytest.mark.parametrize(
    ("wildcards", "name", "matches"),
    [
        (("DB_*",), b"DB_HOST", True),
        (("DB_*",), b"MY_DB_HOST", False),
        (("A?", "B"), b"A1", True),
        (("A?", "B"), b"A", False),
        (("[A]",), b"A", False),
        (("*",), b"\xff\n", True),
    ],
)
def test_wildcards(wildcards: tuple[str, ...], name: bytes, matches: bool) -> None:
    pattern = compile_wildcards(wildcards)
    assert pattern is not None
    assert (pattern.fullmatch(name) is not None) == matches


def test_no_wildcards_are_no_pattern() -> None:
    assert compile_wildcards(()) is None
