"""Renders configuration files that are templates.

The existing mirrord uses Tera, whose syntax Jinja shares; the differences that matter (named arguments of
filters, ``get_env``, tests) are bridged here. ``key`` is the session key; ``git_branch`` is absent outside a
checkout and on a detached head.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mirrord.errors import UsageError

_MARKS: Final = ("{{", "{%", "{#")
_HEAD: Final = "ref: refs/heads/"


def is_template(text: str) -> bool:
    """Tell whether rendering could change a text; most files are none, and spare the import of Jinja."""
    return any(mark in text for mark in _MARKS)


def render(text: str, *, where: str, key: str, environ: Mapping[str, str], cwd: Path) -> str:
    """Return the rendered text; raise UsageError naming the file and the line."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    engine = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    engine.filters.update(_FILTERS)
    engine.tests.update(_TESTS)
    branch = environ.get("MIRRORD_BRANCH_NAME") or git_branch(cwd)
    names: dict[str, object] = {"key": key, "get_env": _get_env(environ)} | (
        {"git_branch": branch} if branch else {}
    )
    try:
        return engine.from_string(text).render(names)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        line = getattr(error, "lineno", None)
        place = f"{where}, line {line}," if line else where
        raise UsageError(f"the template {place} cannot be rendered ({error})", remedy="correct it") from None


def git_branch(directory: Path) -> str | None:
    """Return the branch that is checked out in a directory, without running git (gitrepository-layout(5))."""
    for parent in (directory, *directory.parents):
        git = parent / ".git"
        try:
            # In a linked work tree `.git` is a file that names the real directory.
            git = parent / git.read_text().removeprefix("gitdir:").strip() if git.is_file() else git
            head = (git / "HEAD").read_text().strip()
        except (OSError, UnicodeDecodeError):
            continue
        return head.removeprefix(_HEAD) if head.startswith(_HEAD) else None
    return None


def _get_env(environ: Mapping[str, str]) -> Callable[..., str]:
    def get_env(name: str, default: str | None = None) -> str:
        value = environ.get(name, default)
        if value is None:
            raise ValueError(f"the variable {name} is not set, and get_env has no default")
        return value

    return get_env


def _default(given: Any, /, value: Any = "", boolean: bool = False) -> Any:
    from jinja2 import Undefined

    return value if isinstance(given, Undefined) or (boolean and not given) else given


def _replace(text: str, *pair: str, **named: str) -> str:
    old, new = pair or (named["from"], named["to"])
    return str(text).replace(old, new)


def _truncate(text: str, length: int = 255, end: str = "…") -> str:
    return text if len(text) <= length else text[:length] + end


def _slugify(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "default": _default,
    "replace": _replace,
    "truncate": _truncate,
    "slugify": _slugify,
    "split": lambda text, pat: text.split(pat),
    "join": lambda parts, sep="": sep.join(map(str, parts)),
    "nth": lambda items, n: items[n],
    "slice": lambda items, start=0, end=None: items[start:end],
    "concat": lambda items, **named: [*items, named["with"]],
    "as_str": str,
    "json_encode": lambda value, pretty=False: json.dumps(value, indent=2 if pretty else None),
    "trim_start": str.lstrip,
    "trim_end": str.rstrip,
    "trim_start_matches": lambda text, pat: text.removeprefix(pat),
    "trim_end_matches": lambda text, pat: text.removesuffix(pat),
}
"""Filters whose arguments or names differ from Jinja's."""

_TESTS: Final[dict[str, Callable[..., bool]]] = {
    "starting_with": lambda text, start: str(text).startswith(start),
    "ending_with": lambda text, end: str(text).endswith(end),
    "containing": lambda whole, part: part in whole,
    "matching": lambda text, pattern: re.search(pattern, str(text)) is not None,
}
