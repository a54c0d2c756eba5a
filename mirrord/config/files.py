"""Reads and parses configuration files: JSON, TOML and YAML, told apart by their extension."""

import json
import os
import re
from pathlib import Path
from typing import Any, Final

from mirrord.errors import UsageError

STDIN: Final = "-"
_KEY: Final = re.compile(r"""^[\s{]*["']?key["']?\s*[:=]\s*["']?([^"'\s,{}]+)""", re.MULTILINE)


def label(path: str) -> str:
    """Return how messages call a file."""
    return "standard input" if path == STDIN else path


def read(path: str, *, cwd: Path) -> str:
    """Return a file's text; raise UsageError."""
    try:
        return (cwd / os.path.expanduser(path)).read_text("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"the configuration file {path} is not UTF-8", remedy="save it as UTF-8") from None
    except OSError as error:
        raise UsageError(
            f"the configuration file {path} cannot be read ({error.strerror})",
            remedy="check its path and its mode",
        ) from None


def parse(text: str, *, path: str) -> dict[str, Any]:
    """Return what a file holds, nothing for an empty one; raise UsageError naming the file and the place."""
    if not text.strip():
        return {}
    tree = _decode(text, path)
    if _has_half_characters(tree):
        raise UsageError(
            f"the configuration in {label(path)} has half of a character, such as `\\ud800`",
            remedy="write whole characters",
        )
    if not isinstance(tree, dict):
        raise UsageError(
            f"the configuration in {label(path)} does not hold an object",
            remedy='start from {"target": "sandbox"}',
        )
    return tree


def peek_key(text: str, *, path: str) -> str | None:
    """Return the ``key`` of a template that is not rendered yet, since it may use it; None without one."""
    try:
        key = parse(text, path=path).get("key")
    except UsageError:
        # Statements of a template, unlike expressions within texts, are no JSON.
        found = _KEY.search(text)
        return found[1] if found else None
    return key if isinstance(key, str) and "{{" not in key else None


def _decode(text: str, path: str) -> Any:
    extension = Path(path).suffix.lower()
    try:
        if extension in (".yaml", ".yml"):
            return _yaml(text)
        if extension == ".toml":
            return _toml(text)
        if extension in (".json", "") or path == STDIN:
            return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"the configuration in {label(path)} is malformed ({error})", remedy="correct it"
        ) from None
    raise UsageError(
        f"the configuration file {path} is of no known kind", remedy="name it .json, .toml or .yaml"
    )


def _has_half_characters(tree: Any) -> bool:
    try:
        json.dumps(tree, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return True
    return False


def _toml(text: str) -> Any:
    import tomllib

    return tomllib.loads(text)


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
