"""Turns what is wrong with a configuration into one sentence with a remedy.

Values never appear in it, except short texts where only a few are allowed: a value may be a secret.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from mirrord.config.model import Configuration
from mirrord.config.section import Pending, Section
from mirrord.errors import UsageError

Location = tuple[int | str, ...]
Sources = Mapping[str, str]
"""Which flag or variable set a key, by the key's dotted path."""

_EXPECTED: Final = {
    "bool_type": "true or false",
    "string_type": "a text",
    "int_type": "a whole number",
    "dict_type": "an object",
    "model_type": "an object",
    "tuple_type": "a list",
    "invalid_key": "named by a text",
}
_COUNTS: Final = {"missing": "has too few entries", "too_long": "has too many entries"}
_VERBS: Final = ("has ", "must ")
"""How the sentences of our own validators start that need no introduction."""
_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "a text"),
    (list, "a list"),
    (dict, "an object"),
    (type(None), "null"),
)


def explain(error: ValidationError, where: str, sources: Sources) -> UsageError:
    """Return the error for the first thing that is wrong; ``where`` names the file, or is empty."""
    # Unknown keys first: a misspelt key is often the reason for another error.
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
    detail: Any = details[0]
    location: Location = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return _unknown(location, where)
    subject = sources.get(dotted(location)) or f"`{dotted(location)}`{_in(where)}"
    return UsageError(f"{subject} {_complaint(detail)}", remedy="correct it")


def refuse_pending(configuration: Configuration, where: str, sources: Sources) -> None:
    """Raise UsageError for the first key that is set and not supported yet."""
    for path, default in _pending(configuration, ()):
        if path in sources:
            raise UsageError(
                f"{sources[path]} is not supported yet", remedy=f"leave it out (it sets `{path}`)"
            )
        problem = f"`{path}`{_in(where)} is not supported yet"
        raise UsageError(problem, remedy=f"remove it, or set it to {default}")


def dotted(location: Location) -> str:
    """Return a key's full path as people write it: ``feature.fs.local[0]``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part != "[key]")
    return "".join(parts).removeprefix(".")


def _pending(section: Section, prefix: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _pending(value, (*prefix, name))
        elif any(isinstance(mark, Pending) and mark.refuses(value, field) for mark in field.metadata):
            yield (
                ".".join((*prefix, name)),
                _default(field.get_default(call_default_factory=True, validated_data={})),
            )


def _default(value: object) -> str:
    if value in (None, (), {}):
        return "null"
    return str(value).lower() if isinstance(value, bool) else f"`{value}`"


def _complaint(detail: Any) -> str:
    kind: str = detail["type"]
    if kind == "value_error":
        sentence = str(detail["ctx"]["error"])
        return sentence if sentence.startswith(_VERBS) else f"is wrong: {sentence}"
    if kind == "literal_error":
        given = detail["input"]
        found = f"not `{given}`" if isinstance(given, str) and len(given) < 30 else f"not {_kind(given)}"
        return f"must be {detail['ctx']['expected'].replace(chr(39), '`')}, {found}"
    if kind in _COUNTS:
        return _COUNTS[kind]
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, not {_kind(detail['input'])}"
    message = detail["msg"]
    return f"is wrong: {message[0].lower()}{message[1:]}"


def _kind(value: object) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "something else")


def _in(where: str) -> str:
    return f" in {where}" if where else ""


def _unknown(location: Location, where: str) -> UsageError:
    *parents, name = location
    section: type[Section] | None = Configuration
    for parent in parents:
        section = section.sections().get(str(parent)) if section is not None else None
    keys = list(section.model_fields) if section is not None else []
    near = difflib.get_close_matches(str(name), keys, n=1, cutoff=0.5)
    remedy = f"did you mean `{dotted((*parents, near[0]))}`?" if near else _elsewhere(str(name), keys)
    return UsageError(f"unknown key `{dotted(location)}`{_in(where)}", remedy=remedy)


def _elsewhere(name: str, keys: list[str]) -> str:
    """Look for a key by its last part in the whole tree: keys are more often misplaced than invented."""
    ordered = sorted(_all_keys(Configuration, ()), key=lambda path: path.startswith("feature"))
    paths = {path.rpartition(".")[2]: path for path in ordered}
    near = difflib.get_close_matches(name, paths, n=1, cutoff=0.75)
    if near:
        return f"did you mean `{paths[near[0]]}`?"
    return f"known here: {', '.join(keys)}" if keys else "remove it"


def _all_keys(section: type[Section], prefix: tuple[str, ...]) -> Iterator[str]:
    below = section.sections()
    for name in section.model_fields:
        yield ".".join((*prefix, name))
        if name in below:
            yield from _all_keys(below[name], (*prefix, name))
