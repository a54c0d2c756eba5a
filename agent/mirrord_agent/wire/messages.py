"""The messages of the protocol: requests of the supervisor, replies and events of the agent.

They travel as JSON. Names, paths and values are bytes on Linux; they are carried as the string with the same
code points (latin-1), which loses nothing. Every size has a limit.
"""

from functools import cache
from typing import Annotated, ClassVar, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)

PAGE: Final = 1000
"""Entries of a directory that one listing carries at most."""
_PATH_MAX: Final = 4096
_SUN_PATH: Final = 108


def _to_bytes(value: object) -> object:
    return value.encode("latin-1") if isinstance(value, str) else value


def _to_text(value: bytes) -> str:
    return value.decode("latin-1")


ByteString = Annotated[
    bytes, BeforeValidator(_to_bytes), PlainSerializer(_to_text, return_type=str, when_used="json")
]
Path = Annotated[ByteString, Field(min_length=1, max_length=_PATH_MAX)]
"""An absolute path in the target; not yet resolved."""
Port = Annotated[int, Field(ge=0, le=65_535)]
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


class Attributes(Message):
    """What statx(2) tells of a file; times are nanoseconds since the epoch."""

    type: Literal["attributes"] = "attributes"
    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int | None = None
    mount_id: int | None = None
    flags: int = 0
    """``stx_attributes``."""
    flags_known: int = 0
    """``stx_attributes_mask``."""

    def version(self) -> Version:
        """Return what identifies the content."""
        return Version(
            dev=self.dev, ino=self.ino, size=self.size, mtime_ns=self.mtime_ns, ctime_ns=self.ctime_ns
        )


class GetEnvironment(Message):
    """Ask for the target's environment; the reply is Environment."""

    type: Literal["get_environment"] = "get_environment"


class GetHostname(Message):
    """Ask for the target's host name as it is now; the reply is Hostname."""

    type: Literal["get_hostname"] = "get_hostname"


class GetStatistics(Message):
    """Ask what the agent was asked so far; the reply is Statistics."""

    type: Literal["get_statistics"] = "get_statistics"


class StreamRequest(Message):
    """A request that begins the stream which the requester has allocated."""

    opens_stream: ClassVar[bool] = True
    stream: StreamNumber


class OpenTcp(StreamRequest):
    """Connect to a TCP address from the target; the reply is Opened."""

    type: Literal["open_tcp"] = "open_tcp"
    host: Host
    port: Port
    local_port: Port = 0
    """The port that the program has bound its socket to; taken in the target, too, where it is free there."""


class OpenUdp(StreamRequest):
    """Make a UDP socket in the target, connected where a peer is given; the reply is Opened."""

    type: Literal["open_udp"] = "open_udp"
    family: Literal[4, 6]
    peer: Address | None = None


class OpenUnix(StreamRequest):
    """Connect to a unix socket in the target; the reply is Opened.

    A path that starts with NUL is an abstract name, looked up in the target's network namespace.
    """

    type: Literal["open_unix"] = "open_unix"
    path: Annotated[ByteString, Field(min_length=1, max_length=_PATH_MAX)]
    kind: Literal["stream", "seqpacket"] = "stream"


class OpenFile(StreamRequest):
    """Ask for a file's content; the reply is FileOpened, and then the content on the stream, ending with FIN.

    Only the requester's side of the stream is read: the content comes only for a regular file, and not if
    ``have`` is its version; FIN comes in every case. An error while reading is a RESET with its errno.
    """

    type: Literal["open_file"] = "open_file"
    path: Path
    follow: bool = True
    have: Version | None = None


class Stat(Message):
    """Ask for a file's attributes; the reply is Attributes."""

    type: Literal["stat"] = "stat"
    path: Path
    follow: bool = True


class ReadLink(Message):
    """Ask where a symbolic link points; the reply is Link."""

    type: Literal["read_link"] = "read_link"
    path: Path


class Access(Message):
    """Ask whether the target may access a file (faccessat2(2)); the reply is Done."""

    type: Literal["access"] = "access"
    path: Path
    mode: Annotated[int, Field(ge=0, le=7)]
    follow: bool = True
    effective: bool = False
    """With the effective ids (AT_EACCESS), not the real ones."""


class ListDirectory(Message):
    """Ask for at most PAGE entries of a directory, by name, those after ``after``; the reply is Listing."""

    type: Literal["list_directory"] = "list_directory"
    path: Path
    after: ByteString | None = None


class Environment(Message):
    """The target's environment, in its order; what has no ``=`` is left out."""

    type: Literal["environment"] = "environment"
    variables: tuple[tuple[ByteString, ByteString], ...]


class Hostname(Message):
    """The target's host name."""

    type: Literal["hostname"] = "hostname"
    name: Annotated[ByteString, Field(max_length=64)]


class Statistics(Message):
    """What the agent was asked so far."""

    type: Literal["statistics"] = "statistics"
    requests: dict[str, int]
    """Requests by their ``type``, this one included."""
    in_flight: int
    """Requests that have no reply yet, this one included."""
    most_in_flight: int
    streams_opened: int
    streams_open: int
    resident_bytes: int


class Opened(Message):
    """The socket is there; ``remote`` is the peer that it is connected to."""

    type: Literal["opened"] = "opened"
    local: Address
    remote: Address | None = None


class FileOpened(Message):
    """The file is there; its content follows on the stream if it is regular and not ``unchanged``."""

    type: Literal["file_opened"] = "file_opened"
    attributes: Attributes
    unchanged: bool = False


class Link(Message):
    """Where a symbolic link points, unresolved."""

    type: Literal["link"] = "link"
    target: ByteString


class Done(Message):
    """Yes."""

    type: Literal["done"] = "done"


class Listing(Message):
    """Entries of a directory, sorted by name, without ``.`` and ``..``."""

    type: Literal["listing"] = "listing"
    attributes: Attributes
    """Of the directory itself."""
    entries: Annotated[tuple[tuple[ByteString, Attributes], ...], Field(max_length=PAGE)]
    more: bool = False
    """More entries follow after the last one."""


class Failed(Message):
    """The call failed in the target with this errno."""

    type: Literal["failed"] = "failed"
    errno: Errno


class DatagramError(Message):
    """An ICMP error reached a UDP socket; ``peer`` is the address whose datagram met it, where known."""

    type: Literal["datagram_error"] = "datagram_error"
    stream: StreamNumber
    errno: Errno
    peer: Address | None = None


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
)
Reply = (
    Environment | Hostname | Statistics | Opened | FileOpened | Attributes | Link | Done | Listing | Failed
)
Event = DatagramError


_Union = TypeVar("_Union")


@cache
def _requests() -> TypeAdapter[Request]:
    return TypeAdapter(Annotated[Request, Field(discriminator="type")])


@cache
def _replies() -> TypeAdapter[Reply]:
    return TypeAdapter(Annotated[Reply, Field(discriminator="type")])


@cache
def _events() -> TypeAdapter[Event]:
    return TypeAdapter(Event)


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
