import io
from pathlib import Path
from typing import Any

from mirrord.feed.traffic import Piece
from mirrord.trace.pcap import Pcap

from ...support.capture import Stream, packets, streams

LOCAL, REMOTE = ("10.0.0.2", 80), ("10.0.0.1", 5000)


def piece(**fields: Any) -> bytes:
    given = {"flow": 1, "offset": 0, "udp": False, "incoming": False, "sent": True} | fields
    return Piece(time=5, local=LOCAL, remote=REMOTE, **given).pack()


def written(tmp_path: Path, *pieces: bytes) -> Path:
    out = io.BytesIO()
    pcap = Pcap(out)
    for one in pieces:
        pcap.add(one, 1_000_000_000)
    pcap.flush()
    path = tmp_path / "capture"
    path.write_bytes(out.getvalue())
    return path


def test_a_connection_is_what_it_was(tmp_path: Path) -> None:
    long = bytes(range(256)) * 400
    path = written(
        tmp_path,
        piece(data=long),
        piece(sent=False, data=b"answer"),
        piece(offset=len(long), data=b"more"),
        piece(offset=len(long) + 4, fin=True),
        piece(sent=False, offset=6, fin=True),
    )
    expected = Stream(LOCAL, REMOTE, {LOCAL: long + b"more", REMOTE: b"answer"}, {LOCAL, REMOTE})
    assert streams(path) == [expected]
    assert {time for time, _ in packets(path)} == {1.000000005}


def test_who_comes_in_is_the_client(tmp_path: Path) -> None:
    (stream,) = streams(written(tmp_path, piece(incoming=True, sent=False, data=b"x")))
    assert (stream.client, stream.server) == (REMOTE, LOCAL)


def test_the_same_ports_again_are_another_connection(tmp_path: Path) -> None:
    ends = [piece(flow=flow, sent=sent, fin=True) for flow in (1, 2) for sent in (True, False)]
    assert len(streams(written(tmp_path, *ends))) == 2


def test_datagrams_stay_whole(tmp_path: Path) -> None:
    path = written(tmp_path, piece(udp=True, data=b"q"), piece(udp=True, sent=False, data=b"a"))
    assert [(packet.source, packet.data) for _, packet in packets(path)] == [(LOCAL, b"q"), (REMOTE, b"a")]
