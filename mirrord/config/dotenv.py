"""Files of ``NAME=VALUE`` lines, as ``env_file`` names them.

A line may start with ``export``; ``#`` starts a comment at the beginning of a line and after white space;
values in double quotes know ``\\n``, ``\\t``, ``\\r``, ``\\"``, ``\\\\`` and ``\\$``, and may span lines;
those in single quotes are literal. Variables are not expanded.
"""

import os
import re
from typing import Final

from mirrord.errors import UsageError

_LINE: Final = re.compile(
    rb"""[^\S\n]* (?: \#[^\n]* | (?:export[^\S\n]+)? (?P<name>[^\s=\#]+) [^\S\n]* = [^\S\n]*
         (?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>[^']*)' | (?P<bare>[^\n]*?) )
         [^\S\n]* (?:(?<=\s)\#[^\n]*)? )? (?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}


def read_dotenv(path: str, *, cwd: bytes | None = None) -> dict[bytes, bytes]:
    """Return the variables of a file; raise UsageError naming it, and the line that is wrong.

    A relative ``path`` starts from ``cwd``.
    """
    try:
        with open(os.path.join(cwd or b"", os.fsencode(path)), "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(
            f"the environment file {path} cannot be read ({error.strerror})",
            remedy="check its path and its mode",
        ) from None
    try:
        return parse_dotenv(content)
    except ValueError as error:
        raise UsageError(f"{path}: {error}", remedy="expected NAME=VALUE") from None


def parse_dotenv(content: bytes) -> dict[bytes, bytes]:
    """Return the variables of a text; raise ValueError naming the first wrong line.

    It does not say what the line holds: it may be a secret.
    """
    variables: dict[bytes, bytes] = {}
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    position = 0
    while position < len(content):
        found = _LINE.match(content, position)
        if found is None or b"\0" in found[0]:
            line = content.count(b"\n", 0, position) + 1
            raise ValueError(f"line {line} is not a variable")
        if found["name"]:
            variables[found["name"]] = _value(found)
        position = found.end()
    return variables


def _value(found: re.Match[bytes]) -> bytes:
    if found["double"] is not None:
        return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), found["double"])
    return found["single"] if found["single"] is not None else found["bare"]
