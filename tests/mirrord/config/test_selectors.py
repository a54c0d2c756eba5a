from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.config.selectors import normalise_name, parse_selector


@pytest.mark.parametrize(
    ("text", "protocol", "name", "network", "port"),
    [
        (":5432", None, None, None, 5432),
        ("tcp://10.0.0.0/8:443", "tcp", None, "10.0.0.0/8", 443),
        ("10.1.2.3/8", None, None, "10.0.0.0/8", 0),
        ("udp://:53", "udp", None, None, 53),
        ("api.Example.com.", None, "api.example.com", None, 0),
        ("any://my_db:0", None, "my_db", None, 0),
        ("[fd00::1]:80", None, None, "fd00::1/128", 80),
        ("[fd00::]/64", None, None, "fd00::/64", 0),
        ("TCP://[fd00::]/64:7", "tcp", None, "fd00::/64", 7),
        ("0.0.0.0:80", None, None, None, 80),
        ("0.0.0.0/0", None, None, "0.0.0.0/0", 0),
        ("tcp://", "tcp", None, None, 0),
    ],
)
def test_the_syntax(
    text: str, protocol: str | None, name: str | None, network: str | None, port: int
) -> None:
    selector = parse_selector(text)
    found = None if selector.network is None else str(selector.network)
    assert (selector.protocol, selector.name, found, selector.port) == (protocol, name, network, port)


@pytest.mark.parametrize(
    "text",
    ["", " ", "http://x", "a b", "*.example.com", "name/8", "x:y", "x:99999", "10.0.0.0/40", "[x]", "a:1:2"],
)
def test_what_is_no_selector_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"filter entry|protocol|port"):
        parse_selector(text)


@given(st.text())
def test_every_text_is_parsed_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse_selector(text).port <= 65535


@given(st.ip_addresses(), st.integers(1, 65535), st.sampled_from(["tcp", "udp"]))
def test_an_address_selects_itself(address: object, port: int, protocol: str) -> None:
    host = f"[{address}]" if ":" in str(address) else str(address)
    selector = parse_selector(f"{protocol}://{host}:{port}")
    ip = ip_address(str(address))
    other = "udp" if protocol == "tcp" else "tcp"
    assert selector.matches(protocol, ip, port, ())
    assert not selector.matches(other, ip, port, ())
    assert not selector.matches(protocol, ip, port - 1, ())


def test_a_name_selects_by_name_only() -> None:
    selector = parse_selector("db:5432")
    assert selector.matches("tcp", ip_address("10.0.0.1"), 5432, {"db"})
    assert not selector.matches("tcp", ip_address("10.0.0.1"), 5432, {"web"})


def test_names_are_compared_without_case_and_final_dot() -> None:
    assert normalise_name("DB.Default.") == "db.default"
