import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.wire import messages
from mirrord_agent.wire.messages import (
    PAGE,
    Access,
    Address,
    Arrived,
    Attributes,
    DatagramError,
    Done,
    Entry,
    Environment,
    Event,
    Failed,
    FileOpened,
    GetEnvironment,
    GetFileSystem,
    GetHostname,
    GetStatistics,
    GetXattr,
    Hostname,
    Link,
    ListDirectory,
    Listing,
    ListXattrs,
    MessageError,
    Opened,
    OpenFile,
    OpenTcp,
    OpenUdp,
    OpenUnix,
    PacketsLost,
    ReadLink,
    Reply,
    Request,
    Stat,
    Statistics,
    Subscribe,
    Unsubscribe,
    Unwatch,
    Value,
    Version,
)
from pydantic import ValidationError

signed = st.integers(-(2**63), 2**63 - 1)
unsigned = st.integers(0, 2**64 - 1)
ports = st.integers(0, 65_535)
streams = st.integers(1, 2**32 - 1)
paths = st.binary(min_size=1, max_size=4096)
some_bytes = st.binary(max_size=200)
hosts = st.ip_addresses().map(str)
addresses = st.builds(Address, host=hosts, port=ports)
versions = st.builds(Version, dev=unsigned, ino=unsigned, size=unsigned, mtime_ns=signed, ctime_ns=signed)
attributes = st.builds(
    Attributes,
    **dict.fromkeys(("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "flags"), unsigned),
    **dict.fromkeys(("atime_ns", "mtime_ns", "ctime_ns"), signed),
    blksize=unsigned,
    blocks=unsigned,
    btime_ns=st.none() | signed,
    mount_id=st.none() | unsigned,
    flags_known=unsigned,
)
requests = st.one_of(
    st.builds(GetEnvironment),
    st.builds(GetHostname),
    st.builds(GetStatistics),
    st.builds(OpenTcp, stream=streams, host=hosts, port=ports),
    st.builds(OpenUdp, stream=streams, family=st.sampled_from([4, 6]), peer=st.none() | addresses),
    st.builds(OpenUnix, stream=streams, path=paths, kind=st.sampled_from(["stream", "seqpacket"])),
    st.builds(
        OpenFile,
        stream=streams,
        path=paths,
        flags=st.integers(0, 2**31),
        base=st.none() | paths,
        resolve=st.integers(0, 63),
        have=st.none() | versions,
        digest=st.none() | some_bytes,
    ),
    st.builds(Stat, path=paths, follow=st.booleans(), directory=st.booleans()),
    st.builds(ReadLink, path=paths),
    st.builds(Access, path=paths, mode=st.integers(0, 7), follow=st.booleans(), effective=st.booleans()),
    st.builds(ListDirectory, path=paths, after=st.none() | some_bytes),
    st.builds(Subscribe, port=st.integers(1, 65_535), mode=st.sampled_from(["mirror", "steal"])),
    st.builds(Unsubscribe, port=st.integers(1, 65_535)),
    st.builds(ListDirectory, path=paths, after=st.none() | some_bytes, only_watched=st.booleans()),
    st.builds(Unwatch, watches=st.lists(st.integers(1, 2**31), max_size=5).map(tuple)),
    st.builds(GetFileSystem, path=paths),
    st.builds(GetXattr, path=paths, follow=st.booleans(), name=st.binary(min_size=1, max_size=255)),
    st.builds(ListXattrs, path=paths, follow=st.booleans()),
)
replies = st.one_of(
    st.builds(Environment, variables=st.lists(st.tuples(some_bytes, some_bytes), max_size=5).map(tuple)),
    st.builds(Hostname, name=st.binary(max_size=64)),
    st.builds(Opened, local=addresses, remote=st.none() | addresses),
    st.builds(FileOpened, attributes=attributes, unchanged=st.booleans()),
    attributes,
    st.builds(Link, target=some_bytes),
    st.builds(Done),
    st.builds(
        Listing,
        attributes=attributes,
        entries=st.lists(
            st.builds(Entry, name=some_bytes, attributes=attributes, target=st.none() | some_bytes),
            max_size=3,
        ).map(tuple),
        more=st.booleans(),
        watch=st.none() | st.integers(1, 2**31),
        above=st.lists(st.integers(1, 2**31), max_size=3).map(tuple),
        missing=st.lists(st.tuples(st.integers(0, 2**16), some_bytes, st.integers(0, 4095)), max_size=3).map(
            tuple
        ),
    ),
    st.builds(Value, value=some_bytes),
    st.builds(Failed, errno=st.integers(0, 4095)),
    st.builds(
        Statistics,
        requests=st.dictionaries(st.text(max_size=9), unsigned, max_size=3),
        in_flight=unsigned,
        most_in_flight=unsigned,
        streams_opened=unsigned,
        streams_open=unsigned,
        resident_bytes=unsigned,
        incoming=st.dictionaries(st.text(max_size=9), unsigned, max_size=3),
    ),
)
events = st.one_of(
    st.builds(DatagramError, stream=streams, errno=st.integers(0, 4095), peer=st.none() | addresses),
    st.builds(Arrived, stream=streams, port=st.integers(1, 65_535), remote=addresses, local=addresses),
    st.builds(PacketsLost, count=st.integers(1, 2**63)),
)


@given(requests)
def test_a_request_is_what_was_encoded(request: Request) -> None:
    assert messages.decode_request(messages.encode(request)) == request


@given(replies)
def test_a_reply_is_what_was_encoded(reply: Reply) -> None:
    assert messages.decode_reply(memoryview(messages.encode(reply))) == reply


@given(events)
def test_an_event_is_what_was_encoded(event: Event) -> None:
    assert messages.decode_event(messages.encode(event)) == event


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_an_explained_error(payload: bytes) -> None:
    for decode in (messages.decode_request, messages.decode_reply, messages.decode_event):
        with pytest.raises(MessageError, match="not a message"):
            decode(payload)


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"{}", "Unable to extract tag"),
        (b'{"type":"stat"}', "stat.path: Field required"),
        (b'{"type":"stat","path":""}', "stat.path"),
        (b'{"type":"stat","path":"/","more":1}', "stat.more: Extra inputs"),
        (b'{"type":"stat","path":"/","follow":1}', "stat.follow"),
        (b'{"type":"open_tcp","stream":0,"host":"::1","port":80}', "open_tcp.stream"),
        (b'{"type":"open_tcp","stream":1,"host":"::1","port":65536}', "open_tcp.port"),
        (b'{"type":"open_tcp","stream":1,"host":"::1","port":"80"}', "open_tcp.port"),
        (b'{"type":"subscribe","port":0}', "subscribe.port"),
        (b'{"type":"subscribe","port":80,"mode":"off"}', "subscribe.mode"),
        ('{"type":"stat","path":"/\u20ac"}'.encode(), "stat.path"),
        (b"[" * 100_000, "not a message"),
    ],
)
def test_what_is_wrong_is_said(payload: bytes, problem: str) -> None:
    with pytest.raises(MessageError, match=problem):
        messages.decode_request(payload)


def test_bytes_travel_as_they_are() -> None:
    every = bytes(range(256))
    encoded = messages.encode(Link(target=every))
    assert b"\\u0000" in encoded
    assert messages.decode_reply(encoded) == Link(target=every)


def test_sizes_have_limits() -> None:
    with pytest.raises(ValidationError):
        Stat(path=b"/" * 4097)
    some = Attributes.model_validate(dict.fromkeys(_NUMBERS, 0))
    entry = Entry(name=b"name", attributes=some)
    assert len(Listing(attributes=some, entries=(entry,) * PAGE).entries) == PAGE
    with pytest.raises(ValidationError):
        Listing(attributes=some, entries=(entry,) * (PAGE + 1))


def test_a_version_changes_with_the_content() -> None:
    found = Attributes.model_validate({name: number for number, name in enumerate(_NUMBERS)})
    version = found.version()
    assert found.model_copy(update={"atime_ns": 99, "nlink": 99}).version() == version
    for name in ("dev", "ino", "size", "mtime_ns", "ctime_ns"):
        assert found.model_copy(update={name: 99}).version() != version


_NUMBERS = [name for name, field in Attributes.model_fields.items() if field.is_required() and name != "type"]
