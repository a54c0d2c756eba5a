from typing import Any

import pytest

from mirrord.config.asked import Rules, answers
from mirrord.config.features import Fs, Network
from mirrord.config.outgoing import DnsRules, OutgoingRules
from mirrord.config.paths import PathRules
from mirrord.errors import UsageError

SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")


def rules(*, ipv6: bool = True, **network: Any) -> Rules:
    tree = Network.model_validate(network)
    return Rules(
        paths=PathRules(Fs(), cwd=b"/work", home=None),
        outgoing=OutgoingRules(tree.outgoing, search=SEARCH),
        dns=DnsRules(tree, search=SEARCH),
        ipv6=ipv6,
    )


def asked(text: str, **network: Any) -> list[str]:
    return list(answers(text, rules(**network), cwd="/"))


def test_a_slash_makes_a_path() -> None:
    (line,) = asked("srv/x:80/y")
    assert line.startswith("/srv/x:80/y is remote, read only: ")


def test_what_is_there_is_a_path() -> None:
    (line,) = asked("usr")
    assert line.startswith("/usr is local: ")


def test_a_name_is_resolved_somewhere() -> None:
    assert asked("web") == ["web is resolved in the target: `feature.network.dns` is on"]
    assert asked("web", dns=False) == ["web is resolved on this machine: `feature.network.dns` is off"]
    assert asked("web.default.svc.cluster.local", outgoing={"filter": {"local": ["web"]}}) == [
        "web.default.svc.cluster.local is resolved on this machine: "
        "`feature.network.outgoing.filter.local` has `web`"
    ]
    assert asked("db", dns={"filter": {"remote": ["web"]}}) == [
        "db is resolved on this machine: nothing in `feature.network.dns.filter.remote` matches"
    ]


def test_a_destination_by_name_is_resolved_and_connected_to() -> None:
    assert asked("web:80", outgoing={"filter": {"remote": ["tcp://web:80"]}}) == [
        "web is resolved in the target: `feature.network.dns` is on",
        "tcp://web:80 is remote: `feature.network.outgoing.filter.remote` has `tcp://web:80`",
        "udp://web:80 is local: nothing in `feature.network.outgoing.filter.remote` matches",
    ]


def test_what_depends_on_an_address_is_said_to() -> None:
    filtered = {"filter": {"local": ["10.0.0.0/8", "db"]}}
    assert asked("tcp://web:80", outgoing=filtered)[1] == (
        "web:80 is remote or local, by its address: `feature.network.outgoing.filter.local` has `10.0.0.0/8`"
    )
    assert asked("tcp://db:80", outgoing=filtered)[1].startswith("db:80 is local: ")
    assert asked("10.1.2.3:80", outgoing=filtered) == [
        "10.1.2.3:80 is local: `feature.network.outgoing.filter.local` has `10.0.0.0/8`"
    ]
    assert asked("11.1.2.3:80", outgoing=filtered)[0].endswith("a DNS answer gives it one of the names there")


@pytest.mark.parametrize(
    ("text", "network", "says"),
    [
        ("10.96.0.10:53", {}, "remote: it is a name server's"),
        ("10.96.0.10:53", {"dns": False}, "local: it is a name server's"),
        ("udp://224.0.0.1:99", {}, "local: datagrams for a group"),
        ("udp://255.255.255.255:99", {}, "local: datagrams for a group"),
        ("[::1]:99", {}, "remote: connections are made from the target; what the program itself listens on"),
        ("[::1]:99", {"ipv6": False}, "local: `feature.network.ipv6` is off"),
        ("127.0.0.1:99", {"outgoing": {"ignore_localhost": True}}, "local: `feature.network.outgoing.ignore"),
        ("10.0.0.1:99", {"outgoing": {"tcp": False, "udp": False}}, "local: `feature.network.outgoing.tcp`"),
    ],
)
def test_addresses_with_rules_of_their_own(text: str, network: dict[str, Any], says: str) -> None:
    host = text.partition("://")[2] or text
    line = asked(text, **network)[0]
    assert line.partition("://")[2].startswith(f"{host} is {says}") or line.startswith(f"{host} is {says}")


def test_localhost_is_this_machines_loopback() -> None:
    assert asked("localhost:80", outgoing={"ignore_localhost": True})[1].startswith("localhost:80 is local")


@pytest.mark.parametrize("text", ["10.0.0.1", "::1", "a b", "web:0", "web:99999", ""])
def test_what_cannot_be_answered_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        asked(text)
