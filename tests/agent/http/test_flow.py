"""Ends and flows of HTTP/2."""

import pytest
from h2.events import DataReceived, RequestReceived
from mirrord_agent.http.flow import Broken, End, Flow


def _ends() -> tuple[End, End]:
    """Return a client's end and a server's that know each other's settings."""
    client, server = End(client=True, head=65_536), End(client=False, head=65_536)
    for _ in range(3):
        list(server.receive(client.take()))
        list(client.receive(server.take()))
    return client, server


_HEAD = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


def test_ends_speak_to_each_other() -> None:
    client, server = _ends()
    client.h2.send_headers(1, _HEAD, end_stream=True)
    [event] = [event for event in server.receive(client.take()) if isinstance(event, RequestReceived)]
    assert event.headers == _HEAD
    assert (client.has_room, client.last_stream) == (True, None)


def test_what_is_wrong_comes_after_what_was_right() -> None:
    client, server = _ends()
    client.h2.send_headers(1, _HEAD)
    events = server.receive(client.take() + b"\0\0\1\6\0\0\0\0\0x")
    assert isinstance(next(events), RequestReceived)
    with pytest.raises(Broken):
        list(events)


def test_a_flow_gives_credit_back_when_bytes_have_gone_on() -> None:
    source_client, source = _ends()
    sink, far = _ends()
    source_client.h2.send_headers(1, _HEAD)
    list(source.receive(source_client.take()))
    flow = Flow(source, 1)
    flow.headers(_HEAD, ends=False)
    sent = 0
    for _ in range(20):
        source_client.h2.send_data(1, b"x" * 16_000, pad_length=100)
        sent += 16_000
        for event in source.receive(source_client.take()):
            if isinstance(event, DataReceived):
                flow.data(event.data, event.flow_controlled_length, ends=False)
        list(source_client.receive(source.take()))
        if source_client.h2.local_flow_control_window(1) < 17_000:
            break
    # all windows are used up, nothing came back
    assert source_client.h2.local_flow_control_window(1) == 256 * 1024 - sent - (sent // 16_000) * 101
    flow.connect(sink, 1)
    flow.pump()
    list(source_client.receive(source.take()))
    assert source_client.h2.local_flow_control_window(1) > 17_000
    got = sum(len(event.data) for event in far.receive(sink.take()) if isinstance(event, DataReceived))
    assert got == sent
    assert not flow.waits


def test_a_dropped_flow_gives_everything_back() -> None:
    client, server = _ends()
    client.h2.send_headers(1, _HEAD)
    for _ in range(10):
        client.h2.send_data(1, b"x" * 16_000)
    flow = Flow(server, 1)
    for event in server.receive(client.take()):
        if isinstance(event, DataReceived):
            flow.data(event.data, event.flow_controlled_length, ends=False)
    flow.drop()
    assert (flow.ended, flow.waits) == (True, False)
    list(client.receive(server.take()))
    assert client.h2.local_flow_control_window(1) > 200_000


def test_a_sink_that_has_ended_drops_the_flow() -> None:
    client, server = _ends()
    flow = Flow(None, 0)
    flow.connect(client, 1)
    flow.headers(_HEAD, ends=False)
    flow.pump()
    list(server.receive(client.take()))
    server.reset(1, 8)
    server.reset(1, 8)
    list(client.receive(server.take()))
    flow.data(b"x", 1, ends=True)
    flow.pump()
    assert (flow.ended, flow.waits) == (True, False)
