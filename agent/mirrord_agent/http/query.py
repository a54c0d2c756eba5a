"""JSONPath (RFC 9535), with ``typeof``, which the existing mirrord has beside the standard functions."""

import json
from typing import Final

from jsonpath import JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.function_extensions import ExpressionType, FilterFunction

_NAMES: Final = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


class _TypeOf(FilterFunction):
    """The name of a value's type, ``undefined`` where there is no value."""

    arg_types: Final = [ExpressionType.VALUE]
    return_type = ExpressionType.VALUE

    def __call__(self, value: object) -> str:
        return _NAMES.get(type(value), "undefined")


def _environment() -> JSONPathEnvironment:
    environment = JSONPathEnvironment()
    environment.function_extensions["typeof"] = _TypeOf()
    return environment


_ENVIRONMENT: Final = _environment()


class Query:
    """A compiled query."""

    def __init__(self, text: str) -> None:
        """Compile; raise ValueError with a sentence where it is none."""
        try:
            self._compiled: Final = _ENVIRONMENT.compile(text)
        except JSONPathError as error:
            raise ValueError(f"`{text}` is not a JSONPath ({error})") from None

    def find(self, body: bytes) -> list[object]:
        """Return what it finds in a text; nothing in one that is no JSON."""
        try:
            return self._compiled.findall(json.loads(body))
        except (ValueError, RecursionError, JSONPathError):
            return []
