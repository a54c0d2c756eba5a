"""Filters: what ``feature.network.incoming.http_filter`` says, and whether a request is so.

A filter answers yes, no, or None: not without the body. So a request that its head decides is not held up.
"""

import itertools
import json
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import jq
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from mirrord_agent.http.pattern import Pattern
from mirrord_agent.http.request import Request

if TYPE_CHECKING:
    from mirrord_agent.http.query import Query

_RESULTS: Final = 1000
"""Results of a jq program that are looked at: some have no end."""
_TOP: Final = (
    "header_filter",
    "path_filter",
    "method_filter",
    "header_filter_jq",
    "body_filter",
    "all_of",
    "any_of",
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _filled(text: str) -> str:
    """Refuse an empty text, as templates make of a variable that is not set: it would take every request."""
    if not text:
        raise ValueError("it is empty, and would take every request")
    return text


_Text = Annotated[str, AfterValidator(_filled)]


class HeaderFilter(_Model):
    """One ``name: value`` line matches."""

    header: _Text

    @field_validator("header")
    @classmethod
    def _check(cls, value: str) -> str:
        return Pattern(value).text

    @cached_property
    def _pattern(self) -> Pattern:
        return Pattern(self.header)

    def matches(self, request: Request) -> bool | None:
        """Return whether the request is so."""
        return any(map(self._pattern.search, request.headers))


class PathFilter(_Model):
    """The path matches, without or with its query."""

    path: _Text

    @field_validator("path")
    @classmethod
    def _check(cls, value: str) -> str:
        return Pattern(value).text

    @cached_property
    def _pattern(self) -> Pattern:
        return Pattern(self.path)

    def matches(self, request: Request) -> bool | None:
        """Return whether the request is so."""
        return self._pattern.search(request.path) or self._pattern.search(request.target)


class MethodFilter(_Model):
    """The method is this one."""

    method: _Text

    def matches(self, request: Request) -> bool | None:
        """Return whether the request is so."""
        return request.method.upper() == self.method.upper()


class HeaderJqFilter(_Model):
    """A jq program answers ``true``, given the list of ``name: value`` lines, or one of them."""

    header_jq: _Text

    @field_validator("header_jq")
    @classmethod
    def _check(cls, value: str) -> str:
        try:
            jq.compile(value)
        except ValueError as error:
            raise ValueError(f"`{value}` is not a jq program ({error})") from None
        return value

    @cached_property
    def _program(self) -> Any:
        return jq.compile(self.header_jq)

    def matches(self, request: Request) -> bool | None:
        """Return whether the request is so."""
        lines = list(request.headers)
        return self._says_true(lines) or any(map(self._says_true, lines))

    def _says_true(self, value: object) -> bool:
        try:
            results = itertools.islice(iter(self._program.input_value(value)), _RESULTS)
            return any(result is True for result in results)
        except ValueError:
            # an error of the program, as for a list where it wants a text
            return False


class BodyFilter(_Model):
    """The body is JSON, and something that a JSONPath finds in it matches."""

    body: Literal["json"]
    query: _Text
    pattern: str = Field(alias="matches")

    @field_validator("query")
    @classmethod
    def _check_query(cls, value: str) -> str:
        _compiled_query(value)
        return value

    @field_validator("pattern")
    @classmethod
    def _check(cls, value: str) -> str:
        return Pattern(value).text

    @cached_property
    def _query(self) -> "Query":
        return _compiled_query(self.query)

    @cached_property
    def _pattern(self) -> Pattern:
        return Pattern(self.pattern)

    def matches(self, request: Request) -> bool | None:
        """Return whether the request is so; None before its body is there."""
        if request.body is None:
            return None
        return any(self._pattern.search(_text(value)) for value in self._query.find(request.body))


def _compiled_query(text: str) -> "Query":
    # a third of what this module would take to import, and few filters look at bodies
    from mirrord_agent.http.query import Query

    return Query(text)


def _text(value: object) -> str:
    """Return a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _kind(value: Any) -> str | None:
    """Return the key that tells which filter an entry of a list is."""
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True)
    return next((key for key in _KINDS if key in value), None) if isinstance(value, dict) else None


_KINDS: Final = ("header", "path", "method", "body")
Simple = Annotated[
    Annotated[HeaderFilter, Tag("header")]
    | Annotated[PathFilter, Tag("path")]
    | Annotated[MethodFilter, Tag("method")]
    | Annotated[BodyFilter, Tag("body")],
    Discriminator(
        _kind,
        custom_error_type="no_filter",
        custom_error_message="an entry is an object with `header`, `path`, `method` or `body`",
    ),
]
_Part = Callable[[Request], bool | None]


class HttpFilter(_Model):
    """Which requests are taken; without any filter, all are."""

    header_filter: str | None = None
    path_filter: str | None = None
    method_filter: str | None = None
    header_filter_jq: str | None = None
    body_filter: BodyFilter | None = None
    all_of: tuple[Simple, ...] | None = Field(default=None, min_length=1)
    any_of: tuple[Simple, ...] | None = Field(default=None, min_length=1)
    ports: tuple[int, ...] | None = None
    """The ports that it is meant for; None for all. Others are taken whole."""

    @field_validator("ports", mode="before")
    @classmethod
    def _one_port(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in _TOP if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"has {' and '.join(f'`{name}`' for name in given)}, of which only one may be given"
            )
        # a part that is wrong says so now
        _ = self._parts
        return self

    @cached_property
    def _parts(self) -> tuple[_Part, ...]:
        parts: list[HeaderFilter | PathFilter | MethodFilter | BodyFilter | HeaderJqFilter] = [
            *(self.all_of or ()),
            *(self.any_of or ()),
        ]
        if self.header_filter is not None:
            parts.append(HeaderFilter(header=self.header_filter))
        if self.path_filter is not None:
            parts.append(PathFilter(path=self.path_filter))
        if self.method_filter is not None:
            parts.append(MethodFilter(method=self.method_filter))
        if self.header_filter_jq is not None:
            parts.append(HeaderJqFilter(header_jq=self.header_filter_jq))
        if self.body_filter is not None:
            parts.append(self.body_filter)
        return tuple(part.matches for part in parts)

    @property
    def is_empty(self) -> bool:
        """There is nothing to decide: everything is taken."""
        return not self._parts

    def applies_to(self, port: int) -> bool:
        """Return whether requests on a port are to be looked at; else its connections are taken whole."""
        return not self.is_empty and (self.ports is None or port in self.ports)

    def matches(self, request: Request) -> bool | None:
        """Return whether a request is taken; None where that depends on its body."""
        answers = (part(request) for part in self._parts)
        return _any(answers) if self.any_of is not None else _all(answers)


def _all(answers: Iterable[bool | None]) -> bool | None:
    result: bool | None = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            result = None
    return result


def _any(answers: Iterable[bool | None]) -> bool | None:
    result: bool | None = False
    for answer in answers:
        if answer:
            return True
        if answer is None:
            result = None
    return result
