from typing import Any

import pytest

from mirrord.config.model import Configuration
from mirrord.config.section import Later, Names, Pending, Section, Strings


class Inner(Section):
    flag: Later[bool] = False


class Outer(Section):
    inner: Inner
    one: Strings = ()
    two: Names | None = None


def test_a_section_that_is_absent_or_null_has_its_defaults() -> None:
    assert Outer.model_validate({}) == Outer.model_validate({"inner": None, "two": None})
    assert not Outer.model_validate({}).inner.flag


def test_sections_are_known_by_their_type() -> None:
    assert Outer.sections() == {"inner": Inner}


def test_lists_have_short_forms() -> None:
    outer = Outer.model_validate({"one": "a;b", "two": "a; b;"})
    assert (outer.one, outer.two) == (("a;b",), ("a", "b"))


@pytest.mark.parametrize(("value", "refused"), [(False, False), (True, True)])
def test_pending_keys_may_have_their_default(value: bool, refused: bool) -> None:
    assert Pending().refuses(value, Inner.model_fields["flag"]) is refused


def test_pending_values_are_refused_alone() -> None:
    assert Pending(("x",)).refuses("x", Inner.model_fields["flag"])
    assert not Pending(("x",)).refuses("y", Inner.model_fields["flag"])


def test_an_unknown_key_is_not_hidden_by_null() -> None:
    with pytest.raises(ValueError, match="extra_forbidden"):
        Configuration.model_validate({"unknown": None})


def test_sections_are_frozen() -> None:
    outer: Any = Outer.model_validate({})
    with pytest.raises(ValueError, match="frozen"):
        outer.one = ()
