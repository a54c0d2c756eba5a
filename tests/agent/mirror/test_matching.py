import errno
import itertools

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_agent.http.filter import BodyFilter, HttpFilter
from mirrord_agent.http.output import Decider, Limits
from mirrord_agent.mirror.matching import MatchingCopy

BODY = HttpFilter(body_filter=BodyFilter(body="json", query="$.mine", matches="yes"))
PATH = HttpFilter(path_filter="^/mine")


class Recorded:
    """A copy."""

    def __init__(self) -> None:
        self.data_taken = b""
        self.fins = 0

    def data(self, data: bytes) -> int:
        self.data_taken += data
        return 0

    def fin(self) -> None:
        self.fins += 1

    def reset(self, errno: int) -> None:
        assert errno


def copied(
    filter: HttpFilter, pieces: list[bytes], *, limits: Limits | None = None
) -> tuple[bytes, int, int]:
    """Return what was copied, how many copies there were, and the last errno."""
    copies: list[Recorded] = []

    def begin() -> Recorded:
        copies.append(Recorded())
        return copies[-1]

    copy = MatchingCopy(Decider(filter, limits=limits), begin)
    number = 0
    for piece in pieces:
        if number := copy.data(piece):
            copy.reset(number)
            break
    else:
        copy.fin()
        assert all(copy.fins == 1 for copy in copies)
    return b"".join(copy.data_taken for copy in copies), len(copies), number


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends) if end > start]


PLACES = st.lists(st.integers(0, 100_000), max_size=12)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["none", "length", "chunked"])), max_size=8), PLACES)
def test_requests_that_match_are_copied_as_they_are(kinds: list[tuple[bool, str]], places: list[int]) -> None:
    requests, wanted = b"", b""
    for number, (mine, kind) in enumerate(kinds):
        line = f"POST /{'mine' if mine else 'theirs'}/{number} HTTP/1.1\r\nHost: x\r\n".encode()
        request = (
            line
            + {
                "none": b"\r\n",
                "length": b"Content-Length: 18\r\n\r\nGET /mine HTTP/1.1",
                "chunked": b"Transfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\nTrailer: x\r\n\r\n",
            }[kind]
        )
        requests += request
        wanted += request if mine else b""
    assert copied(PATH, cut(requests, places)) == (wanted, int(bool(wanted)), 0)


@given(st.lists(st.sampled_from(["yes", "no", "text", "long"]), max_size=6), PLACES)
def test_bodies_are_waited_for(kinds: list[str], places: list[int]) -> None:
    requests, wanted = b"", b""
    for kind in kinds:
        body = {"text": b"mine", "long": b'{"mine": "yes"' + b" " * 200 + b"}"}.get(
            kind, f'{{"mine": "{kind}"}}'.encode()
        )
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        requests += request
        wanted += request if kind == "yes" else b""
    found = copied(BODY, cut(requests, places), limits=Limits(body=100))
    assert found == (wanted, int(bool(wanted)), 0)


def test_after_an_upgrade_everything_goes_where_the_request_went() -> None:
    for path, taken in ((b"/mine", True), (b"/theirs", False)):
        request = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" % path
        frames = [b"\x81\x05hello", b"GET /mine HTTP/1.1\r\n"]
        for pieces in ([request, *frames], [request + frames[0], frames[1]]):
            wanted = b"".join([request, *frames]) if taken else b""
            assert copied(PATH, pieces) == (wanted, int(taken), 0)
    refused = b"GET /theirs HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    after = b"GET /mine HTTP/1.1\r\nHost: x\r\n\r\n"
    assert copied(PATH, [refused, after]) == (after, 1, 0)


def test_what_is_no_http_is_not_copied() -> None:
    assert copied(PATH, [b"\x16\x03\x01\x02"]) == (b"", 0, errno.ECANCELED)
    first = b"GET /mine HTTP/1.1\r\nHost: x\r\n\r\n"
    assert copied(PATH, [first, b"\0\0\r\n\r\n"]) == (first, 1, errno.ECANCELED)
    assert copied(PATH, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 9]) == (b"", 0, errno.ECANCELED)


STREAM = st.tuples(
    st.booleans(), st.integers(0, 3), st.booleans(), st.sampled_from(["end", "trailers", "reset"])
)


@settings(deadline=None)
@given(st.lists(STREAM, max_size=6), PLACES, st.booleans())
def test_streams_of_http2(
    streams: list[tuple[bool, int, bool, str]], places: list[int], by_body: bool
) -> None:
    """A real server understands the copy, and finds in it the streams that match, whole."""
    client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    client.initiate_connection()
    wanted: dict[int, tuple[str, bytes, str]] = {}
    for number, (mine, size, long, end) in enumerate(streams):
        stream, word = 2 * number + 1, "mine" if mine else "theirs"
        body = b'{"mine": "%s"}' % (b"yes" if mine else b"no") + b" " * size * 1000
        fields = [(":method", "POST"), (":path", f"/{word}/{number}"), (":scheme", "http")]
        fields += [(":authority", "x"), ("x-long", f"{word}{number}" * (4_000 if long else 1))]
        client.send_headers(stream, fields)
        client.send_data(stream, body, end_stream=end == "end")
        if end == "trailers":
            client.send_headers(stream, [("x-trailer", word)], end_stream=True)
        elif end == "reset":
            client.reset_stream(stream, 8)
        if mine:
            wanted[stream] = (f"/{word}/{number}", body, end)
    data, _, number = copied(BODY if by_body else PATH, cut(client.data_to_send(), places))
    assert number == 0
    if wanted or data:
        assert served(data) == wanted


def served(data: bytes) -> dict[int, tuple[str, bytes, str]]:
    server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    server.initiate_connection()
    server.local_settings.max_header_list_size = 1 << 20
    paths: dict[int, str] = {}
    bodies: dict[int, bytes] = {}
    ends: dict[int, str] = {}
    for event in server.receive_data(data):
        if isinstance(event, RequestReceived):
            paths[event.stream_id] = dict(event.headers)[":path"]  # type: ignore[index, assignment]
            bodies[event.stream_id] = b""
        elif isinstance(event, DataReceived):
            bodies[event.stream_id] += event.data
        elif isinstance(event, TrailersReceived):
            ends[event.stream_id] = "trailers"
        elif isinstance(event, StreamReset):
            ends[event.stream_id] = "reset"
        elif isinstance(event, StreamEnded):
            ends.setdefault(event.stream_id, "end")
    return {stream: (path, bodies[stream], ends[stream]) for stream, path in paths.items()}
