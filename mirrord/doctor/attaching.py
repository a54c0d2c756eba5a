"""Attaching to a process, tried on a child by the engine that `mirrord attach` would choose."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from mirrord_seccomp import bpf
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.doctor.child import waiting_child
from mirrord.doctor.finding import Lacking
from mirrord.syscall import Handler, Return
from mirrord.tracer.attach import attach
from mirrord.tracer.bell import Bell
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.following import Following
from mirrord.tracer.probe import reason_against_notify

_ANSWER: Final = 4242
_RULE: Final = Rule("getppid", Action.NOTIFY)


def try_to_attach() -> str:
    """Return how it went; raise Lacking, AttachError or OSError."""
    reason = reason_against_notify()
    if reason is not None:
        _by_tracing()
        return f"yes, by the engine ptrace, since {reason}"
    _by_listener()
    return "yes"


def _by_listener() -> None:
    with waiting_child() as (child, _):
        os.close(attach(child, bpf.compile([_RULE], current_arch())).listener)
    _, status = os.waitpid(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise Lacking(f"the process was attached to, and ended with {code}")


def _by_tracing() -> None:
    orders, tell = os.pipe2(os.O_CLOEXEC)
    hear, report = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(tell)
        _ask(orders, report)
    bell = Bell()
    following = Following(
        _Decisions(), bell, hold=_never, warn=_never, settled=lambda seconds: os.close(tell)
    )
    following.take_over(child)
    bell.hang()
    following.follow()
    os.close(report)
    if os.read(hear, 32) != b"%d" % _ANSWER:
        raise Lacking("the process was attached to, and its call was not decided")


def _ask(orders: int, report: int) -> NoReturn:
    try:
        os.read(orders, 1)
        os.write(report, b"%d" % os.getppid())
    finally:
        os._exit(0)


def _answered(call: object) -> Return:
    return Return(_ANSWER)


def _number() -> int:
    found = number(_RULE.syscall, current_arch())
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class _Decisions:
    """A table of that one call."""

    handlers: Mapping[int, Handler] = field(default_factory=lambda: {_number(): _answered})
    traps: Mapping[int, Sequence[Rule]] = field(default_factory=lambda: {_number(): (_RULE,)})
    filter: bytes = b""


def _never(*_: TrappedCall | object) -> None:
    """Do nothing: no call waits, and there is nobody to be told."""
