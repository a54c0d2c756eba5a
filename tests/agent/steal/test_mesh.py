"""Telling a service mesh, by what may be seen of it."""

import os
import subprocess
from pathlib import Path

import pytest
from mirrord_agent.steal.iptables import Family
from mirrord_agent.steal.mesh import is_meshed

from ..namespace import in_namespace
from ..running import tool
from .scene import serve


@in_namespace
def test_chains_tell_in_either_kind_of_tables() -> None:
    tool("iptables-nft")
    assert not is_meshed()
    for variant in ("nft", "legacy"):
        family = Family(tool(f"iptables-{variant}"))
        family.load([":PROXY_INIT_REDIRECT - [0:0]"])
        assert is_meshed()
        family.load(["-X PROXY_INIT_REDIRECT"])
        assert not is_meshed()


@in_namespace
def test_looking_begins_nothing() -> None:
    """The older tables would track connections from then on."""
    is_meshed()
    rules = subprocess.run([tool("nft"), "list", "ruleset"], capture_output=True, text=True, check=True)
    assert rules.stdout == ""
    names = Path("/proc/thread-self/net/ip_tables_names")
    assert not os.access(names, os.R_OK) or names.read_text() == ""


@in_namespace
def test_where_no_chain_may_be_seen_the_sidecars_port_tells() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert not is_meshed()
        serve("sidecar", port=4143)
        assert is_meshed()
