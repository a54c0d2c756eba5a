from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.config.features import Network, Outgoing
from mirrord.config.outgoing import DnsRules, OutgoingRules, parse_address

SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")


def outgoing(**keys: Any) -> OutgoingRules:
    return OutgoingRules(Outgoing.model_validate(keys), search=SEARCH)


def dns(outgoing_filter: Any = None, **keys: Any) -> DnsRules:
    tree = {"dns": keys, "outgoing": {"filter": outgoing_filter}}
    return DnsRules(Network.model_validate(tree), search=SEARCH)


def test_everything_is_remote_by_default() -> None:
    rules = outgoing()
    assert rules.decide("tcp", "127.0.0.1", 80)
    assert rules.decide("udp", "::1", 53)


def test_protocols_are_switched_off_alone() -> None:
    rules = outgoing(tcp=False)
    assert not rules.tcp
    assert not rules.decide("tcp", "10.0.0.1", 80)
    assert rules.decide("udp", "10.0.0.1", 80)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_ignore_localhost(address: str) -> None:
    assert not outgoing(ignore_localhost=True).decide("tcp", address, 80)
    assert outgoing().decide("tcp", address, 80)


def test_only_these_are_remote() -> None:
    rules = outgoing(filter={"remote": ["tcp://10.0.0.0/8:443", ":5432", "db"]})
    assert rules.decide("tcp", "10.1.1.1", 443)
    assert rules.decide("tcp", "::ffff:10.1.1.1", 443)
    assert not rules.decide("udp", "10.1.1.1", 443)
    assert rules.decide("udp", "1.1.1.1", 5432)
    assert rules.decide("tcp", "1.1.1.1", 1, ["DB.default.svc.cluster.local."])
    assert not rules.decide("tcp", "1.1.1.1", 1, ["db.example.com"])
    assert rules.names == {"db"}


def test_only_these_are_local() -> None:
    rules = outgoing(filter={"local": "10.0.0.0/8"})
    assert not rules.decide("tcp", "10.1.1.1", 443)
    assert rules.decide("tcp", "11.1.1.1", 443)


@given(st.ip_addresses(), st.integers(0, 65535), st.sampled_from(["tcp", "udp"]))
def test_remote_and_local_filters_are_each_others_opposite(address: Any, port: int, protocol: Any) -> None:
    entries = ["10.0.0.0/8", "udp://[8000::]/1", ":80"]
    here = outgoing(filter={"local": entries}).decide(protocol, address, port)
    there = outgoing(filter={"remote": entries}).decide(protocol, address, port)
    assert here != there


def test_unix_streams() -> None:
    rules = outgoing(unix_streams=["^/app/.*sock$", "^@abstract"])
    assert rules.unix
    assert rules.decide_unix(b"/app/echo.sock")
    assert rules.decide_unix(b"\0abstract-one")
    assert not rules.decide_unix(b"/run/app/echo.sock")
    assert not outgoing().unix


def test_an_address_loses_its_zone() -> None:
    assert str(parse_address("fe80::1%eth0")) == "fe80::1"
    with pytest.raises(ValueError, match="does not appear"):
        parse_address("db")


def test_names_are_resolved_remotely_by_default() -> None:
    assert dns().decide("web")
    assert not dns().filtered
    assert not dns(enabled=False).decide("web")


def test_only_these_names_are_remote() -> None:
    rules = dns(filter={"remote": ["web", "db.default:80"]})
    assert rules.filtered
    assert rules.decide("web")
    assert rules.decide("WEB.default.svc.cluster.local.")
    assert rules.decide("db.default.svc.cluster.local")
    assert not rules.decide("example.com")


def test_only_these_names_are_local() -> None:
    rules = dns(filter={"local": "example.com"})
    assert not rules.decide("example.com")
    assert rules.decide("www.example.com")


def test_names_of_the_outgoing_filter_steer_resolution() -> None:
    assert not dns({"local": ["api.example.com"]}).decide("api.example.com")
    assert dns({"remote": ["db"]}, filter={"remote": ["web"]}).decide("db")
    assert dns({"remote": ["10.0.0.0/8", "db"]}).decide("web")
