"""The messages of the protocol, and how they are written and read."""

from functools import cache
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from mirrord_agent.wire.message import Address, ByteString, Message, MessageError, Version
from mirrord_agent.wire.replies import (
    PAGE,
    Arrived,
    Attributes,
    Changed,
    DatagramError,
    Done,
    Entry,
    Environment,
    Failed,
    FileOpened,
    FileSystem,
    Hostname,
    Link,
    Listing,
    Opened,
    PacketsLost,
    Statistics,
    StreamEvent,
    Value,
)
from mirrord_agent.wire.requests import (
    Access,
    GetEnvironment,
    GetFileSystem,
    GetHostname,
    GetStatistics,
    GetXattr,
    ListDirectory,
    ListXattrs,
    OpenFile,
    OpenTcp,
    OpenUdp,
    OpenUnix,
    ReadLink,
    Stat,
    StreamRequest,
    Subscribe,
    Unsubscribe,
    Unwatch,
)

__all__ = [
    "PAGE",
    "Access",
    "Address",
    "Arrived",
    "Attributes",
    "ByteString",
    "Changed",
    "DatagramError",
    "Done",
    "Entry",
    "Environment",
    "Event",
    "Failed",
    "FileOpened",
    "FileSystem",
    "GetEnvironment",
    "GetFileSystem",
    "GetHostname",
    "GetStatistics",
    "GetXattr",
    "Hostname",
    "Link",
    "ListDirectory",
    "ListXattrs",
    "Listing",
    "Message",
    "MessageError",
    "OpenFile",
    "OpenTcp",
    "OpenUdp",
    "OpenUnix",
    "Opened",
    "PacketsLost",
    "ReadLink",
    "Reply",
    "Request",
    "Stat",
    "Statistics",
    "StreamEvent",
    "StreamRequest",
    "Subscribe",
    "Unsubscribe",
    "Unwatch",
    "Value",
    "Version",
    "decode_event",
    "decode_reply",
    "decode_request",
    "encode",
]

Request = (
    GetEnvironment
    | GetHostname
    | GetStatistics
    | OpenTcp
    | OpenUdp
    | OpenUnix
    | OpenFile
    | Stat
    | ReadLink
    | Access
    | ListDirectory
    | Subscribe
    | Unsubscribe
    | Unwatch
    | GetFileSystem
    | GetXattr
    | ListXattrs
)
Reply = (
    Environment
    | Hostname
    | Statistics
    | Opened
    | FileOpened
    | Attributes
    | Link
    | Done
    | Listing
    | FileSystem
    | Value
    | Failed
)
Event = DatagramError | Arrived | PacketsLost | Changed


_Union = TypeVar("_Union")


@cache
def _requests() -> TypeAdapter[Request]:
    return TypeAdapter(Annotated[Request, Field(discriminator="type")])


@cache
def _replies() -> TypeAdapter[Reply]:
    return TypeAdapter(Annotated[Reply, Field(discriminator="type")])


@cache
def _events() -> TypeAdapter[Event]:
    return TypeAdapter(Annotated[Event, Field(discriminator="type")])


def encode(message: Message) -> bytes:
    """Return the JSON of a message."""
    return message.model_dump_json().encode()


def decode_request(payload: bytes | memoryview) -> Request:
    """Return the request in a payload; raise MessageError."""
    return _decode(_requests(), payload)


def decode_reply(payload: bytes | memoryview) -> Reply:
    """Return the reply in a payload; raise MessageError."""
    return _decode(_replies(), payload)


def decode_event(payload: bytes | memoryview) -> Event:
    """Return the event in a payload; raise MessageError."""
    return _decode(_events(), payload)


def _decode(adapter: TypeAdapter[_Union], payload: bytes | memoryview) -> _Union:
    try:
        return adapter.validate_json(bytes(payload))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise MessageError(f"not a message: {place + ': ' if place else ''}{problem['msg']}") from None
    except RecursionError:
        raise MessageError("not a message: nested too deeply") from None
