"""Redirection by iptables: its order, its watchdog, and what is cleaned."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from mirrord_agent.errors import AgentError
from mirrord_agent.steal.iptables import Family, Iptables, choose
from mirrord_agent.steal.listener import Listener
from mirrord_agent.steal.mesh import is_meshed
from mirrord_agent.steal.redirection import Method

from ..namespace import add_link_local, in_namespace
from ..running import tool
from .scene import LOOPBACKS, PORT, Agent, Client, ask, left, serve


def _stolen_and_given_back(method: Method) -> None:
    add_link_local()
    serve("app")
    before = Client()
    agent = Agent("agent", method=method)
    assert ask("agent", "fe80::1%lo") == "app:agent"
    for host in LOOPBACKS:
        assert ask("agent", host) == "agent:agent"
        assert ask("x", host) == "app:x"
    assert before.ask("agent") == "app:agent"
    agent.end()
    assert left() == []
    for host in LOOPBACKS:
        assert ask("agent", host) == "app:agent"
    assert before.ask("x") == "app:x"


@in_namespace
def test_the_nft_variant_steals_and_leaves_nothing() -> None:
    tool("iptables-nft")
    _stolen_and_given_back("iptables-nft")


@in_namespace
def test_the_legacy_variant_steals_and_leaves_nothing() -> None:
    tool("iptables-legacy")
    _stolen_and_given_back("iptables-legacy")


@in_namespace
def test_a_killed_agent_leaves_nothing_at_any_moment() -> None:
    serve("app")
    for _ in range(6):
        agent = Agent("agent", method="iptables-nft", wait=False)
        time.sleep(random.uniform(0, 0.3))
        agent.end()
        assert left() == []
        assert ask("agent") == "app:agent"


@in_namespace
def test_stolen_connections_go_on_after_the_port_was_given_back() -> None:
    serve("app")
    rules, listener = Iptables(), Listener()
    rules.redirect(PORT, to=listener.port)
    client = Client()
    listener.sockets[0].setblocking(True)
    stolen, _ = listener.sockets[0].accept()
    rules.restore(PORT)
    stolen.sendall(b"still here\n")
    assert client.ask("x") == "still here"
    assert ask("x") == "app:x"
    rules.close()
    assert left() == []


@in_namespace
def test_what_a_killed_agent_and_watchdog_left_is_removed_by_the_next() -> None:
    serve("app")
    agent = Agent("agent", method="iptables-nft")
    [watchdog] = _children(agent.pid)
    os.kill(watchdog, signal.SIGKILL)
    agent.end()
    assert any("MIRRORD_0_" in line for line in left())
    with pytest.raises(ConnectionRefusedError):
        ask("x")
    rules = Iptables()
    assert ask("x") == "app:x"
    rules.close()
    assert left() == []


@in_namespace
def test_the_watchdog_outlives_the_signals_that_end_a_container() -> None:
    agent = Agent("agent", method="iptables-nft")
    [watchdog] = _children(agent.pid)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(watchdog, number)
    agent.end(signal.SIGTERM)
    assert left() == []


@in_namespace
def test_chains_of_the_living_are_left_alone() -> None:
    serve("app")
    agent = Agent("agent", method="iptables-nft")
    rules = Iptables()
    assert rules.level.number == 1
    assert ask("agent") == "agent:agent"
    rules.close()
    assert ask("agent") == "agent:agent"
    agent.end()


@in_namespace
def test_higher_levels_come_first_and_foreign_rules_last() -> None:
    family = Family(tool("iptables-nft"))
    family.load(["-A OUTPUT -p udp -j ACCEPT"])
    both = [Iptables(variant="nft"), Iptables(variant="nft")]
    both[0].close()
    both[0] = Iptables(variant="nft")
    jumps = [line.split()[-1] for line in family.list().splitlines() if line.startswith("-A OUTPUT")]
    assert jumps == ["MIRRORD_1_OUT", "MIRRORD_0_OUT", "ACCEPT"]
    for rules in both:
        rules.close()
    assert [line for line in family.list().splitlines() if line.startswith("-A")] == [
        "-A OUTPUT -p udp -j ACCEPT"
    ]


@in_namespace
def test_the_variant_of_a_mesh_is_chosen() -> None:
    tool("iptables-nft")
    legacy = Family(tool("iptables-legacy"))
    assert [family.command for family in choose()] == ["iptables-nft", "ip6tables-nft"]
    assert not is_meshed()
    legacy.load([":ISTIO_OUTPUT - [0:0]"])
    assert [family.command for family in choose()] == ["iptables-legacy", "ip6tables-legacy"]
    assert is_meshed()


def test_a_missing_command_is_a_sentence() -> None:
    with pytest.raises(AgentError, match="iptables-none is not installed here"):
        Family("iptables-none").list()


def test_what_iptables_says_is_in_the_sentence() -> None:
    with pytest.raises(AgentError, match=r"iptables-nft-restore failed: .+"):
        Family(tool("iptables-nft")).load(["-A NOWHERE -j ACCEPT"])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
