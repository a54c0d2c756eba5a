import pytest

from mirrord.cli.port_forward import inward_rule, outward_rule
from mirrord.errors import UsageError
from mirrord.link.forwarding import Inward, Outward


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("8080:web:80", Outward(8080, "web", 80)),
        ("web:80", Outward(80, "web", 80)),
        ("1:10.0.0.1:65535", Outward(1, "10.0.0.1", 65535)),
        ("80:443", Outward(443, "80", 443)),
        ("8080:[fd00::1]:80", Outward(8080, "fd00::1", 80)),
        ("[fd00::1]:80", Outward(80, "fd00::1", 80)),
    ],
)
def test_what_leads_to_the_target(text: str, rule: Outward) -> None:
    assert outward_rule(text) == rule


@pytest.mark.parametrize(("text", "rule"), [("80:8080", Inward(80, 8080)), ("80", Inward(80, 80))])
def test_what_leads_here(text: str, rule: Inward) -> None:
    assert inward_rule(text) == rule


@pytest.mark.parametrize(
    "text", ["", "80", "web", "a:web:80", "1:2:3:4", "fd00::1:80", "web:65536", "0:web:1"]
)
def test_malformed_ways_to_the_target(text: str) -> None:
    with pytest.raises(UsageError, match=r"\[LOCAL:\]HOST:PORT|from 1 to 65535"):
        outward_rule(text)


@pytest.mark.parametrize("text", ["", "web:80", "1:2:3", "0", "80:65536", "-1"])
def test_malformed_ways_here(text: str) -> None:
    with pytest.raises(UsageError, match=r"\[REMOTE:\]LOCAL|from 1 to 65535"):
        inward_rule(text)
