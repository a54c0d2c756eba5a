"""The replies and events of the agent."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from mirrord_agent.wire.message import (
    Address,
    ByteString,
    Errno,
    Message,
    ServerPort,
    StreamNumber,
    Version,
)

PAGE: Final = 1000
"""Entries of a directory that one listing carries at most."""


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
    real: ByteString | None = None
    """The path with every link resolved, where it is not the one that was asked for."""

    def version(self) -> Version:
        """Return what identifies the content."""
        return Version(
            dev=self.dev, ino=self.ino, size=self.size, mtime_ns=self.mtime_ns, ctime_ns=self.ctime_ns
        )


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
    incoming: dict[str, int] = Field(default_factory=dict)
    """What became of connections that reached subscribed ports."""


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
    offset: int = 0
    """Where the content begins that follows: what comes before is what the requester has."""
    settled: bool = True
    """Whether every later change would show in the version: not so for the clock tick of the last one."""


class Link(Message):
    """Where a symbolic link points, unresolved."""

    type: Literal["link"] = "link"
    target: ByteString


class Done(Message):
    """Yes."""

    type: Literal["done"] = "done"


class Entry(Message):
    """One entry of a directory."""

    type: Literal["entry"] = "entry"
    name: ByteString
    attributes: Attributes
    target: ByteString | None = None
    """Where a symbolic link points."""
    xattrs: bool = True
    """Whether there are extended attributes."""
    watch: int | None = None
    """Of a directory that is watched, too: its own attributes hold until something in it changes."""
    steady: bool = True
    """Whether a change of the attributes would be told; not so for hard links and mounted files."""


class Listing(Message):
    """Entries of a directory, sorted by name, without ``.`` and ``..``."""

    type: Literal["listing"] = "listing"
    attributes: Attributes
    """Of the directory itself."""
    entries: Annotated[tuple[Entry, ...], Field(max_length=PAGE)]
    more: bool = False
    """More entries follow after the last one."""
    watch: int | None = None
    """The number that changes of this directory are told under from now on, None where they are not told."""
    above: tuple[int, ...] = ()
    """The same for each directory above it, from the root on."""
    xattrs: bool = True
    """Whether the directory itself has extended attributes."""
    missing: Annotated[tuple[tuple[int, ByteString, Errno], ...], Field(max_length=100)] = ()
    """What asking for an extended attribute gives that a file does not have: by the file's type, and name."""
    exhausted: bool = False
    """It is not watched because the target has no more watches (``fs.inotify.max_user_watches``)."""


class FileSystem(Message):
    """What statfs(2) tells."""

    type: Literal["file_system"] = "file_system"
    kind: int
    bsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    fsid: tuple[int, int]
    namelen: int
    frsize: int
    flags: int


class Value(Message):
    """What an extended attribute holds, or the names of all."""

    type: Literal["value"] = "value"
    value: ByteString


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


class StreamEvent(Message):
    """An event that begins the stream which the sender has allocated."""

    opens_stream: ClassVar[bool] = True
    stream: StreamNumber


class Arrived(StreamEvent):
    """A connection has reached a subscribed port; its bytes follow on the stream.

    A copy that cannot be continued ends by a RESET: ECONNRESET where the client has reset its connection,
    ENODATA where a part of it was not seen, ENOBUFS where it was not taken fast enough,
    ETIMEDOUT where it made room for another.
    """

    type: Literal["arrived"] = "arrived"
    port: ServerPort
    """The port as it was subscribed."""
    remote: Address
    """The client."""
    local: Address
    """The address of the target that the client has connected to."""


class PacketsLost(Message):
    """The kernel had no room for packets of mirrored ports: copies may be missing or cut."""

    type: Literal["packets_lost"] = "packets_lost"
    count: Annotated[int, Field(ge=1)]


class Changed(Message):
    """Something in a watched directory is no longer as it was told; what it is now may be asked.

    A name is told once after each Listing of the directory.
    """

    type: Literal["changed"] = "changed"
    watch: int
    """The directory's number; -1 when events were lost, and nothing that was told can be relied on."""
    name: ByteString | None = None
    """The entry's name; None for the directory itself, which is to be forgotten."""
    names: bool = False
    """The names have changed, and with them the directory's own times, size and links."""
