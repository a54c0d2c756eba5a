"""What all messages have in common, and the types that they are made of.

They travel as JSON. Names, paths and values are bytes on Linux; they are carried as the string with the
same code points (latin-1), which loses nothing. Every size has a limit.
"""

from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

PATH_MAX: Final = 4096
_SUN_PATH: Final = 108


def _to_bytes(value: object) -> object:
    return value.encode("latin-1") if isinstance(value, str) else value


def _to_text(value: bytes) -> str:
    return value.decode("latin-1")


ByteString = Annotated[
    bytes, BeforeValidator(_to_bytes), PlainSerializer(_to_text, return_type=str, when_used="json")
]
Path = Annotated[ByteString, Field(min_length=1, max_length=PATH_MAX)]
"""An absolute path in the target; not yet resolved."""
Port = Annotated[int, Field(ge=0, le=65_535)]
ServerPort = Annotated[int, Field(ge=1, le=65_535)]
"""A port that can be connected to."""
StreamNumber = Annotated[int, Field(ge=1, le=2**32 - 1)]
Errno = Annotated[int, Field(ge=0, le=4095)]
Host = Annotated[str, Field(max_length=64)]
"""An IPv4 or IPv6 address as text; never a name. IPv6 may carry a scope (``fe80::1%eth0``)."""


class MessageError(ValueError):
    """Raised when a payload is not a message."""


class Message(BaseModel):
    """What all messages have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)
    opens_stream: ClassVar[bool] = False


class Address(Message):
    """One end of a connection. A unix socket has its path as host and port 0."""

    host: Annotated[str, Field(max_length=_SUN_PATH + 20)]
    port: Port


class Version(Message):
    """What changes when the content of a file does."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int
