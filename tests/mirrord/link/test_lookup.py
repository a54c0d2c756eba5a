import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.link.lookup import Resolv, _in_hosts, is_address

CLUSTER = """\
# of a pod
search default.svc.cluster.local svc.cluster.local cluster.local
nameserver 10.96.0.10
nameserver fd00::10
options timeout:2 ndots:5
"""


def test_a_pods_resolv_conf() -> None:
    resolv = Resolv.parse(CLUSTER)
    assert resolv.servers == ("10.96.0.10", "fd00::10")
    assert resolv.candidates("web") == [
        "web.default.svc.cluster.local.",
        "web.svc.cluster.local.",
        "web.cluster.local.",
        "web.",
    ]
    assert resolv.candidates("web.") == ["web."]
    assert resolv.candidates("a.b.c.d.e.f")[0] == "a.b.c.d.e.f."


def test_the_last_search_list_counts() -> None:
    assert Resolv.parse("search a b\ndomain c").candidates("web") == ["web.c.", "web."]
    assert Resolv.parse("").candidates("web.example") == ["web.example."]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    resolv = Resolv.parse(text)
    assert resolv.candidates("name")
    assert resolv.ndots >= 0


def test_a_hosts_file() -> None:
    hosts = "127.0.0.1 localhost\n# 10.0.0.9 web\n\n10.0.0.1\tweb web.example # and none\n10.0.0.2 web\n"
    assert _in_hosts(hosts, "web") == _in_hosts(hosts, "web.example") == "10.0.0.1"
    assert _in_hosts(hosts, "none") is None
    assert _in_hosts(hosts, "10.0.0.1") is None


@pytest.mark.parametrize(
    ("text", "yes"), [("10.0.0.1", True), ("fd00::1", True), ("web", False), ("10.1", False)]
)
def test_addresses(text: str, yes: bool) -> None:
    assert is_address(text) is yes
