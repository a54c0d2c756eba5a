"""The table of an attached process: a filter for every session, and handlers for this one."""

import errno
import socket
from typing import Any

import pytest
from mirrord_seccomp import bpf
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.dispatch.complete import CompleteTable
from mirrord.dispatch.table import Table, rows_of
from mirrord.syscall import CONTINUE, Fail

from .fakes import FakeCall, Theatre

ALL_OFF: dict[str, Any] = {"network": False, "fs": "local", "hostname": False}
INCOMING_OFF: dict[str, Any] = {"network": {"incoming": "off"}}
WITHOUT_IPV6: dict[str, Any] = {"network": {"ipv6": False}}


def nr(name: str) -> int:
    found = number(name, current_arch())
    assert found is not None
    return found


@pytest.mark.parametrize(
    "configuration",
    [{}, ALL_OFF, WITHOUT_IPV6, INCOMING_OFF],
    ids=["default", "off", "no IPv6", "nothing incoming"],
)
def test_the_filter_is_the_same_for_every_session(theatre: Theatre, configuration: dict[str, Any]) -> None:
    usual = CompleteTable.of(theatre.stage({}).world)
    other = CompleteTable.of(theatre.stage(configuration, hostname=None).world)
    assert other.filter == usual.filter
    assert set(other.handlers) == set(usual.handlers)


def test_it_traps_all_that_any_session_traps(theatre: Theatre) -> None:
    complete = CompleteTable.of(theatre.stage({}).world)
    for configuration in ({}, ALL_OFF, WITHOUT_IPV6, INCOMING_OFF):
        assert Table(rows_of(theatre.stage(configuration).world)).handlers.keys() <= complete.handlers.keys()


def test_nothing_is_refused_in_the_kernel(theatre: Theatre) -> None:
    """What one session refuses must be allowed when there is none."""
    complete = CompleteTable.of(theatre.stage({}).world)
    assert "ERRNO" not in bpf.disassemble(complete.filter)
    assert nr("io_uring_setup") in complete.traps


def test_without_a_plane_its_calls_are_left_to_the_kernel(theatre: Theatre) -> None:
    handlers = CompleteTable.of(theatre.stage(ALL_OFF, hostname=None).world).handlers
    # a handler would look at these arguments, and find no memory there
    for name in ("openat", "connect", "uname", "sendto", "stat", "bind"):
        assert handlers[nr(name)](FakeCall(1, 1, 1, 1, 1, 1)) is CONTINUE


def test_a_refusal_of_the_session_is_its_handlers(theatre: Theatre) -> None:
    usual = CompleteTable.of(theatre.stage({}).world).handlers
    assert usual[nr("io_uring_setup")](FakeCall()) == Fail(errno.ENOSYS)
    assert usual[nr("socket")](FakeCall(socket.AF_INET, 1, 262)) == Fail(errno.EPROTONOSUPPORT)
    assert usual[nr("socket")](FakeCall(socket.AF_INET6, 1, 0)) is CONTINUE
    without = CompleteTable.of(theatre.stage(WITHOUT_IPV6).world).handlers
    assert without[nr("socket")](FakeCall(socket.AF_INET6, 1, 0)) == Fail(errno.EAFNOSUPPORT)
    assert without[nr("socket")](FakeCall(socket.AF_INET, 1, 0)) is CONTINUE


def test_a_call_that_an_older_filter_traps_is_left_to_the_kernel(theatre: Theatre) -> None:
    handlers = CompleteTable.of(theatre.stage({}).world).handlers
    assert handlers[999_999](FakeCall()) is CONTINUE


def test_let_go(theatre: Theatre) -> None:
    handlers = CompleteTable.of(theatre.stage({}).world).handlers
    handlers.let_go()
    for name in ("openat", "io_uring_setup", "connect"):
        assert handlers[nr(name)](FakeCall()) is CONTINUE
