"""The pattern languages of configuration files: regular expressions as Rust writes them, and wildcards.

Files written for the existing mirrord use the syntax of Rust's ``regex`` and ``fancy-regex`` crates. Most of
it means the same in Python; :func:`compile_pattern` translates what does not.
"""

import re
import warnings
from collections.abc import Callable
from typing import Final

_TOKEN: Final = re.compile(r"\\.|\[\^?\]?|\]|\(\?<(?![=!])|\$|.", re.DOTALL)
_POSIX: Final = {
    "[:alpha:]": "A-Za-z",
    "[:digit:]": "0-9",
    "[:alnum:]": "0-9A-Za-z",
    "[:upper:]": "A-Z",
    "[:lower:]": "a-z",
    "[:space:]": r"\s",
    "[:xdigit:]": "0-9A-Fa-f",
    "[:word:]": r"\w",
    "[:punct:]": r"!-/:-@\[-`{-~",
}
_MULTILINE: Final = re.compile(r"\(\?[a-z]*m[a-z]*[:)-]")
_REFERENCE: Final = re.compile(r"\$(?:(\$)|\{([^{}]*)\}|(\w+))")


def compile_pattern(text: str) -> re.Pattern[str]:
    """Compile a regular expression of a configuration file; it ignores case and is meant for ``search``.

    Raises ValueError with a sentence when it is not one.
    """
    try:
        with warnings.catch_warnings():
            # of a set in a set, or of one without another: Rust has them, and Python has not yet
            warnings.simplefilter("error", FutureWarning)
            return re.compile(_translate(text), re.IGNORECASE)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(f"`{text}` is not a regular expression ({error})") from None


def _translate(text: str) -> str:
    for name, members in _POSIX.items():
        text = text.replace(name, members)
    # Python's `$` also matches before a final newline, which a file name may well end with.
    end = "$" if _MULTILINE.search(text) else r"\Z"
    outside = {"$": end, r"\z": r"\Z", "(?<": "(?P<"}
    parts: list[str] = []
    inside_class = False
    for token in _TOKEN.findall(text):
        parts.append(token if inside_class else outside.get(token, token))
        inside_class = token != "]" if inside_class else token.startswith("[")
    return "".join(parts)


def compile_replacement(text: str, pattern: re.Pattern[str]) -> Callable[[re.Match[str]], str]:
    """Return the function for ``Pattern.sub`` that fills a replacement's ``$1``, ``${name}`` and ``$$``.

    Raises ValueError where it names a group that the pattern does not have: Rust would put in nothing, which
    helps nobody.
    """
    parts: list[str | int] = []
    position = 0
    for found in _REFERENCE.finditer(text):
        parts += [text[position : found.start()], _group(found, pattern)]
        position = found.end()
    parts.append(text[position:])
    return lambda match: "".join(part if isinstance(part, str) else match[part] or "" for part in parts)


def _group(reference: re.Match[str], pattern: re.Pattern[str]) -> str | int:
    if reference[1]:
        return "$"
    name = reference[2] or reference[3] or ""
    number = int(name) if name.isascii() and name.isdigit() else pattern.groupindex.get(name, -1)
    if not 0 <= number <= pattern.groups:
        raise ValueError(f"the replacement names the group `{name}`, which `{pattern.pattern}` does not have")
    return number


def compile_wildcards(texts: tuple[str, ...]) -> re.Pattern[bytes] | None:
    """Return the pattern, for ``fullmatch``, that any of the wildcards is (``*``, ``?``); None for none."""
    if not texts:
        return None
    any_of = "|".join(re.escape(text).replace(r"\*", ".*").replace(r"\?", ".") for text in texts)
    return re.compile(any_of.encode("utf-8", "surrogateescape"), re.DOTALL)
