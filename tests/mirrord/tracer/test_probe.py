import errno
import os
import platform
import subprocess
import sys

import pytest
from mirrord_seccomp import load

from mirrord.session.processes import children
from mirrord.tracer import probe as module
from mirrord.tracer.probe import reason_against_notify

from ...support.build import ROOT

UNDER = """
import sys
from mirrord_seccomp import bpf, load
from mirrord_seccomp.rules import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import current_arch
from mirrord.tracer.probe import reason_against_notify
load.set_no_new_privs()
load.load(bpf.compile([{rule}], current_arch()), {flags})
print(reason_against_notify())
"""


def under(rule: str, flags: int = 0) -> str:
    code = UNDER.format(rule=rule, flags=flags)
    line = [sys.executable, "-c", code]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_here_it_works_and_nothing_is_left() -> None:
    fds, others = set(os.listdir("/proc/self/fd")), set(children())
    assert module._tried() is None
    assert set(os.listdir("/proc/self/fd")) == fds
    assert set(children()) <= others


def test_where_pidfd_getfd_is_forbidden() -> None:
    reason = under(f"Rule('pidfd_getfd', Action.ERRNO({errno.EPERM}))")
    assert reason == "pidfd_getfd(2) is refused: operation not permitted"


def test_where_no_descriptors_can_be_given() -> None:
    reason = under(f"Rule('ioctl', Action.ERRNO({errno.EINVAL}), Test(1, Op.EQ, 0x40182103, 64))")
    assert reason == "the kernel puts no descriptors into a program: invalid argument"


def test_under_another_listener() -> None:
    reason = under("Rule('fsync', Action.NOTIFY)", load.NEW_LISTENER)
    assert reason == "the kernel refuses a seccomp listener: device or resource busy"


def test_a_recent_kernel_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_tried", lambda: "it was tried")
    monkeypatch.setattr(module, "_is_filtered", lambda: False)
    monkeypatch.setattr(platform, "release", lambda: "6.1.0")
    assert reason_against_notify() is None
    monkeypatch.setattr(module, "_is_filtered", lambda: True)
    assert reason_against_notify() == "it was tried"


def test_on_an_old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "5.4.0-generic")
    monkeypatch.setattr(module, "_FLAGS", load.NEW_LISTENER | 1 << 20)
    assert reason_against_notify() == "the kernel refuses a seccomp listener: invalid argument"
