"""Expressions: the kernel reads them as they are meant, which `nft` prints."""

import re
import subprocess

from mirrord_agent.steal.nftables import Nftables

from ..namespace import in_namespace
from ..running import tool

_RULES = """
meta mark 0x6d720000/16 meta mark & 0x000001ff != 0x00000000 return
ip6 daddr fe80::/10 return
fib daddr type local tcp dport 80 tcp flags syn / fin,syn,rst,ack redirect to :9999
fib daddr type local tcp dport 443 tcp flags syn / fin,syn,rst,ack redirect to :9998
ct state new
"""


@in_namespace
def test_the_rules_read_as_meant() -> None:
    table = Nftables()
    table.redirect(80, to=9999)
    table.redirect(443, to=9998)
    listed = subprocess.run(
        [tool("nft"), "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout
    for chain in ("output", "prerouting"):
        body = re.search(rf"chain {chain} {{\n(.*?)}}", listed, re.DOTALL)
        assert body is not None
        head, *rules = [line.strip() for line in body[1].strip().splitlines()]
        assert head == f"type nat hook {chain} priority -113; policy accept;"
        assert rules == _RULES.strip().splitlines()
    assert "flags owner" in listed
