"""Several agents on one pod, by every method: each gets its own, in whichever order they end."""

import contextlib
import errno
import itertools
import os
import signal
from collections.abc import Iterator
from typing import Final

import pytest
from mirrord_agent.errors import AgentError
from mirrord_agent.steal.iptables import Iptables
from mirrord_agent.steal.nftables import Nftables
from mirrord_agent.steal.redirection import Method, open_redirection

from ..namespace import in_namespace
from .scene import Agent, ask, left, serve

_NFTABLES: Final[Method] = "nftables"
_NAMES = ("anna", "berta", "clara")


def _everyone_gets_their_own(alive: set[str]) -> None:
    for host in ("127.0.0.1", "::1"):
        for name in _NAMES:
            expected = name if name in alive else "app"
            assert ask(name, host) == f"{expected}:{name}"
        assert ask("nobody", host) == "app:nobody"


def _compose(*methods: Method | None, ends: list[tuple[str, ...]]) -> None:
    serve("app")
    for order in ends:
        agents = {name: Agent(name, method=method) for name, method in zip(_NAMES, methods, strict=False)}
        _everyone_gets_their_own(set(agents))
        for name in order:
            agents.pop(name).end(signal.SIGKILL)
            _everyone_gets_their_own(set(agents))
        assert left() == []


@in_namespace
def test_three_agents_end_in_any_order() -> None:
    _compose(None, None, None, ends=[*itertools.permutations(_NAMES)])


@in_namespace
def test_one_who_comes_later_takes_the_place_that_is_free() -> None:
    serve("app")
    agents = {name: Agent(name) for name in _NAMES}
    for name in (*_NAMES, *reversed(_NAMES)):
        agents[name].end()
        _everyone_gets_their_own(set(_NAMES) - {name})
        agents[name] = Agent(name)
        _everyone_gets_their_own(set(_NAMES))
    for agent in agents.values():
        agent.end()
    assert left() == []


@in_namespace
def test_agents_with_iptables_compose_too() -> None:
    _compose("iptables-nft", "iptables-nft", ends=[("anna", "berta"), ("berta", "anna")])


@in_namespace
def test_both_methods_compose() -> None:
    _compose(
        "iptables-legacy",
        "nftables",
        "iptables-legacy",
        ends=[("clara", "anna", "berta"), ("berta", "clara", "anna")],
    )


@in_namespace
def test_nftables_is_the_first_choice() -> None:
    redirection = open_redirection()
    assert isinstance(redirection, Nftables)
    redirection.close()


@in_namespace
def test_iptables_is_chosen_where_asked_for() -> None:
    redirection = open_redirection(method="iptables-legacy")
    assert isinstance(redirection, Iptables)
    redirection.close()
    assert left() == []


@in_namespace
def test_iptables_is_chosen_where_the_kernel_has_nothing_better() -> None:
    for number in (errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTONOSUPPORT):
        with _refused(OSError(number, os.strerror(number))):
            redirection = open_redirection()
        assert isinstance(redirection, Iptables)
        redirection.close()
    assert left() == []


def test_another_error_is_a_sentence() -> None:
    for error, method in ((OSError(errno.ENOMEM, "no"), None), (OSError(errno.ENOENT, "no"), _NFTABLES)):
        with _refused(error), pytest.raises(AgentError, match="nf_tables refused the rules for stealing: no"):
            open_redirection(method=method)


def test_without_the_right_to_it_a_sentence_says_what_to_do() -> None:
    with _refused(PermissionError()), pytest.raises(AgentError, match="CAP_NET_ADMIN"):
        open_redirection()


@contextlib.contextmanager
def _refused(error: OSError) -> Iterator[None]:
    def refuse(*, loopback_only: bool, filtered: bool, reserved: int | None) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mirrord_agent.steal.redirection.Nftables", refuse)
        yield
