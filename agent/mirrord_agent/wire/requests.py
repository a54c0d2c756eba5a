"""The requests of the supervisor; each says which reply it has."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mirrord_agent.wire.message import (
    PATH_MAX,
    Address,
    ByteString,
    Host,
    Message,
    Path,
    Port,
    ServerPort,
    StreamNumber,
    Version,
)


class GetEnvironment(Message):
    """Ask for the target's environment; the reply is Environment."""

    type: Literal["get_environment"] = "get_environment"


class GetHostname(Message):
    """Ask for the target's host name as it is now; the reply is Hostname."""

    type: Literal["get_hostname"] = "get_hostname"


class Subscribe(Message):
    """Ask for the connections that reach a port of the target; the reply is Done, or Failed.

    Each of them is then told by an event, Arrived, and carried by a stream that the agent opens. ``mirror``
    carries a copy of what the client sends; what is written to such a stream is not taken.
    """

    type: Literal["subscribe"] = "subscribe"
    port: ServerPort
    mode: Literal["mirror", "steal"] = "mirror"


class Unsubscribe(Message):
    """Ask for no more connections to a port; those that are there go on. The reply is Done."""

    type: Literal["unsubscribe"] = "unsubscribe"
    port: ServerPort


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
    path: Annotated[ByteString, Field(min_length=1, max_length=PATH_MAX)]
    kind: Literal["stream", "seqpacket"] = "stream"


class OpenFile(StreamRequest):
    """Ask for a file's content; the reply is FileOpened, and then the content on the stream, ending with FIN.

    Only the requester's side of the stream is read: the content comes only for a regular file, and not if
    ``have`` is its version; FIN comes in every case. An error while reading is a RESET with its errno.
    """

    type: Literal["open_file"] = "open_file"
    path: Path
    flags: Annotated[int, Field(ge=0)] = 0
    """Those of open(2) that decide on the path: O_NOFOLLOW, O_DIRECTORY, O_NOATIME."""
    base: Path | None = None
    """The directory that RESOLVE_BENEATH and RESOLVE_IN_ROOT speak of; ``path`` is relative to it."""
    resolve: Annotated[int, Field(ge=0)] = 0
    """The RESOLVE flags of openat2(2)."""
    have: Version | None = None
    sure: bool = True
    """Whether the version tells; else the file may have changed since without another one."""
    digest: ByteString | None = None
    """BLAKE2b of what ``have`` is: if the file begins with it, only the rest is sent."""


class Stat(Message):
    """Ask for a file's attributes; the reply is Attributes."""

    type: Literal["stat"] = "stat"
    path: Path
    follow: bool = True
    directory: bool = False
    """Fail with ENOTDIR for what is none (O_DIRECTORY)."""
    base: Path | None = None
    resolve: Annotated[int, Field(ge=0)] = 0
    """Both as OpenFile has them."""


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
    """Ask for a page of a directory's entries, by name, those after ``after``; the reply is Listing."""

    type: Literal["list_directory"] = "list_directory"
    path: Path
    after: ByteString | None = None
    only_watched: bool = False
    """Leave the entries out where changes cannot be told."""


class Unwatch(Message):
    """Ask to watch no more what Listings have named; the reply is Done."""

    type: Literal["unwatch"] = "unwatch"
    watches: Annotated[tuple[int, ...], Field(max_length=10_000)]


class GetFileSystem(Message):
    """Ask for the file system that a path is on (statfs(2)); the reply is FileSystem."""

    type: Literal["get_file_system"] = "get_file_system"
    path: Path


class GetXattr(Message):
    """Ask for an extended attribute (getxattr(2)); the reply is Value."""

    type: Literal["get_xattr"] = "get_xattr"
    path: Path
    follow: bool
    name: Annotated[ByteString, Field(min_length=1, max_length=255)]


class ListXattrs(Message):
    """Ask for the names of extended attributes (listxattr(2)); the reply is Value, each name with a NUL."""

    type: Literal["list_xattrs"] = "list_xattrs"
    path: Path
    follow: bool
