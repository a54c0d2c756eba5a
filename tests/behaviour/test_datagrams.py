"""Outgoing datagrams: from one socket to several peers, with every call that sends and receives."""

from collections.abc import Callable

import pytest

from ..conftest import Mirrord
from ..support.build import command
from ..support.running import Outcome

pytestmark = [pytest.mark.both_engines, pytest.mark.sample("peers0")]

ECHO4, ECHO6 = "10.96.0.20", "fd00:10:96::20"
DB4, DB6 = "10.96.0.30", "fd00:10:96::30"


@pytest.mark.parametrize("peers", [(ECHO4, DB4), (ECHO6, DB6), (f"::ffff:{ECHO4}", f"::ffff:{DB4}")])
@pytest.mark.parametrize("way", ["sendto", "sendmsg", "sendmmsg", "connect"])
def test_each_peer_answers_what_it_was_sent(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], way: str, peers: tuple[str, str]
) -> None:
    line = [*command("datagrams"), way, peers[0], "7", peers[1], "7"]

    session = mirrord(*line, options=["-v"])

    assert session.lines[-2:] == [f"one from {peers[0]} 7", f"two from {peers[1]} 7"]
    assert session.lines == in_pod(*line).lines
    assert session.statistics["open_udp"] >= 1


@pytest.mark.parametrize("peers", [(ECHO4, DB4), (ECHO6, DB6)])
def test_a_closed_port_refuses_a_connected_socket(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], peers: tuple[str, str]
) -> None:
    line = [*command("datagrams"), "refused", peers[0], "9", peers[1], "9"]

    assert mirrord(*line).lines == in_pod(*line).lines == ["recv ECONNREFUSED"]


def test_datagrams_may_be_left_local(mirrord: Mirrord) -> None:
    line = [*command("datagrams"), "refused", "127.0.0.1", "9", "127.0.0.1", "9"]

    session = mirrord(*line, options=["-v", "--no-udp-outgoing"])

    assert session.lines == ["recv ECONNREFUSED"]
    assert "open_udp" not in session.statistics
