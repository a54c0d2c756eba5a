import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_agent.wire.binary import Cutter, extent, pack
from mirrord_agent.wire.websocket import WebSocket
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from ..running import on_loop

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""What a client begins with."""

_LONG = bytes(range(256)) * 300
messages = st.binary(max_size=300) | st.builds(bytes, st.sampled_from([125, 126, 127, 65_535, 65_536]))


@given(messages, st.booleans())
def test_a_frame_is_what_the_package_reads(message: bytes, masked: bool) -> None:
    client = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN, max_size=None)
    peer = ServerProtocol(state=State.OPEN, max_size=None) if masked else client
    peer.receive_data(pack(message, masked=masked))
    (frame,) = peer.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, message)


@given(messages, st.booleans())
def test_what_the_package_writes_is_read(message: bytes, masked: bool) -> None:
    frame = memoryview(Frame(Opcode.BINARY, message).serialize(mask=masked))

    def cut(*fragments: bytes, masked: bool = masked, at_most: int = 2**20) -> list[tuple[bytes, bool]]:
        found = Cutter(masked=masked).cut(frame, fragments, at_most=at_most)
        return [(bytes(piece), ours) for piece, ours in found]

    assert cut() == [(message, True)]
    for theirs in (cut(b"a fragment"), cut(masked=not masked), cut(at_most=len(message) - 1)):
        assert theirs == [(bytes(frame), False)]


@given(messages, st.booleans(), st.data())
def test_a_piece_of_a_frame_is_never_taken_for_all_of_it(
    message: bytes, masked: bool, data: st.DataObject
) -> None:
    whole = pack(message, masked=masked)
    piece = memoryview(whole)[: data.draw(st.integers(0, len(whole) - 1))]
    found = extent(piece)
    assert found is None or found.end == len(whole)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.binary(max_size=300) | st.sampled_from([b"ping", b"cut", b"long"]), max_size=8),
    st.lists(st.integers(1, 200) | st.just(20_000)),
)
def test_messages_are_the_same_however_they_are_cut(sent: list[bytes], sizes: list[int]) -> None:
    """Control frames and messages in several frames come between."""

    async def check() -> None:
        end = WebSocket(asyncio.get_running_loop(), client=False)
        feed(end, UPGRADE)
        end.prove()
        got: list[bytes] = []
        end.start(lambda message: got.append(bytes(message)))
        stream = b"".join(_frames(message) for message in sent)
        cuts = [*sizes, len(stream)]
        while stream:
            piece, stream = stream[: cuts[0]], stream[cuts[0] :]
            cuts = cuts[1:] or cuts
            feed(end, piece)
        assert end.reason is None
        assert [b"long" if message == _LONG else message for message in got] == sent

    on_loop(check)()


def feed(end: WebSocket, data: bytes) -> None:
    """Have bytes arrive, as many at once as there is room for."""
    while data:
        room = end.get_buffer(len(data))
        size = min(len(room), len(data))
        room[:size] = data[:size]
        end.buffer_updated(size)
        data = data[size:]


def _frames(message: bytes) -> bytes:
    def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
        return Frame(opcode, data, fin).serialize(mask=True)

    if message == b"ping":
        return frame(Opcode.PING, b"alive?") + frame(Opcode.BINARY, message)
    if message == b"cut":
        return frame(Opcode.BINARY, b"c", fin=False) + frame(Opcode.PING, b"") + frame(Opcode.CONT, b"ut")
    return frame(Opcode.BINARY, _LONG if message == b"long" else message)
