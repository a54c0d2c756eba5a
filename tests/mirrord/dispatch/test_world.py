import socket
from typing import Any

import pytest

from mirrord.dispatch.world import is_group
from mirrord.link.addresses import Peer

from .fakes import REMOTE, REMOTE6, Theatre

ALL_OFF: dict[str, Any] = {"network": False}


@pytest.mark.parametrize(
    ("configuration", "has"),
    [
        ({}, True),
        (ALL_OFF, False),
        ({"network": {"outgoing": False, "dns": True}}, True),
        ({"network": {"outgoing": {"udp": True, "tcp": False}, "dns": False}}, True),
        (
            {"network": {"outgoing": {"tcp": False, "udp": False, "unix_streams": ["x"]}, "dns": False}},
            True,
        ),
    ],
)
def test_whether_there_is_a_network(theatre: Theatre, configuration: dict[str, Any], has: bool) -> None:
    assert theatre.stage(configuration).world.has_network is has


def test_what_is_remote_by_default(theatre: Theatre) -> None:
    world = theatre.stage().world
    assert world.is_remote_stream(REMOTE)
    assert world.is_remote_datagram(REMOTE)
    assert not world.is_remote_datagram(Peer("224.0.0.251", 5353))


def test_port_53_goes_with_the_names(theatre: Theatre) -> None:
    dns = Peer("10.0.0.10", 53)
    for outgoing, names in ((True, False), (False, True)):
        world = theatre.stage({"network": {"outgoing": outgoing, "dns": names}}).world
        assert world.is_remote_stream(dns) is names
        assert world.is_remote_datagram(dns) is names


def test_a_filter_by_name_waits_for_the_name(theatre: Theatre) -> None:
    world = theatre.stage({"network": {"outgoing": {"filter": {"remote": ["web.example"]}}}}).world
    assert not world.is_remote_stream(REMOTE)
    world.names._add(REMOTE.host, {"web.example"})
    assert world.is_remote_stream(REMOTE)
    assert world.is_remote_datagram(REMOTE)


def test_the_address_in_the_pod(theatre: Theatre) -> None:
    world = theatre.stage(addresses={socket.AF_INET: "10.9.9.9"}).world
    assert world.pod_address(REMOTE, 5) == Peer("10.9.9.9", 5)
    assert world.pod_address(REMOTE6, 5) is None
    assert world.pod_address(Peer("127.0.0.1", 1), 5) == Peer("127.0.0.1", 5)
    assert world.pod_address(Peer("::1", 1), 5) == Peer("::1", 5)


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("224.0.0.1", True),
        ("239.255.255.255", True),
        ("240.0.0.1", False),
        ("223.255.255.255", False),
        ("255.255.255.255", True),
        ("ff02::1", True),
        ("fe80::1", False),
        ("::1", False),
    ],
)
def test_groups(host: str, group: bool) -> None:
    assert is_group(Peer(host, 1)) is group
