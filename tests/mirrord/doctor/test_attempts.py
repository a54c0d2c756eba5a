"""The doctor under machines that lack something, which an outer filter simulates."""

import json
import subprocess
import sys
from typing import Final

import pytest

from ...support.build import ROOT

OUTER: Final = """
import json, os, sys
from mirrord_seccomp import bpf, load
from mirrord_seccomp.rules import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import current_arch
action = Action.NOTIFY if sys.argv[1] == "NOTIFY" else Action.ERRNO(int(sys.argv[1]))
tests = [Test(argument, Op(op), value, 64) for argument, op, value in json.loads(sys.argv[3])]
load.set_no_new_privs()
flags = load.NEW_LISTENER if action == Action.NOTIFY else 0
fd = load.load(bpf.compile([Rule(sys.argv[2], action, *tests)], current_arch()), flags)
if flags:
    os.set_inheritable(fd, True)
from mirrord.__main__ import main
sys.exit(main(["doctor", *sys.argv[4:]]))
"""
ATTACHING: Final = "attaching to a process that runs"
EPERM: Final = "1"
EINVAL: Final = "22"
ENOSYS: Final = "38"


def doctor(action: str, call: str, *tests: tuple[int, str, int]) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code of the doctor under a filter, and its findings by their subjects' first words."""
    line = [sys.executable, "-c", OUTER, action, call, json.dumps(tests), "--json"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, {one["subject"].partition(" (")[0]: one for one in json.loads(done.stdout)}


def outcomes(findings: dict[str, dict[str, str]], outcome: str) -> set[str]:
    return {name for name, one in findings.items() if one["outcome"] == outcome}


def test_a_machine_with_everything() -> None:
    code, findings = doctor(ENOSYS, "nfsservctl")
    assert code == 0
    assert outcomes(findings, "works") == set(findings)
    assert findings["the engine of sessions"]["found"].startswith("notify, ")


def test_a_machine_without_tracing() -> None:
    code, findings = doctor(EPERM, "ptrace")
    assert code == 1
    assert outcomes(findings, "fails") == {"launching a program"}
    assert "does not let mirrord trace" in findings["launching a program"]["found"]
    assert "ptrace_scope" in findings["launching a program"]["remedy"]
    assert outcomes(findings, "lacks") == {ATTACHING}
    assert "ptrace_scope" in findings["attaching to a process that runs"]["remedy"]


def test_a_container_that_forbids_pidfd_getfd() -> None:
    code, findings = doctor(EPERM, "pidfd_getfd")
    assert code == 0
    assert outcomes(findings, "lacks") == {"another process's descriptors"}
    for subject in ("launching a program", ATTACHING):
        assert "yes, by the engine ptrace, since pidfd_getfd(2)" in findings[subject]["found"]
    assert findings["the engine of sessions"]["found"].startswith("ptrace, since pidfd_getfd(2) is refused")
    assert findings["another process's descriptors"]["found"] == "operation not permitted"


def test_a_kernel_whose_traps_signals_interrupt() -> None:
    code, findings = doctor(EINVAL, "seccomp", (1, "any of", 32))
    assert code == 0
    assert outcomes(findings, "lacks") == {"traps that signals leave alone"}
    for subject in ("launching a program", ATTACHING):
        assert "by the engine ptrace" in findings[subject]["found"]
    assert "5.19" in findings["traps that signals leave alone"]["remedy"]


def test_a_kernel_without_synchronous_wake_ups() -> None:
    code, findings = doctor(EINVAL, "ioctl", (1, "==", 0x40082104))
    assert code == 0
    assert outcomes(findings, "lacks") == {"quick traps"}
    assert "6.6" in findings["quick traps"]["remedy"]


def test_a_process_that_is_supervised_already() -> None:
    code, findings = doctor("NOTIFY", "nfsservctl")
    assert code == 0
    assert "already has a listener" in findings["traps"]["found"]
    for subject in ("launching a program", ATTACHING):
        assert "by the engine ptrace" in findings[subject]["found"]
    assert "outside" in findings["traps"]["remedy"]


def test_a_machine_without_user_namespaces() -> None:
    code, findings = doctor(EPERM, "unshare")
    assert code == 0
    assert outcomes(findings, "lacks") == {"the sandbox"}
    assert findings["stealing in the sandbox"]["found"].startswith("not tried")
    assert "user namespaces" in findings["the sandbox"]["found"]


def test_a_kernel_that_gives_no_descriptors() -> None:
    code, findings = doctor(EINVAL, "ioctl", (1, "==", 0x40182103))
    assert code == 0
    assert outcomes(findings, "lacks") == {"descriptors for the program"}
    assert "by the engine ptrace" in findings["launching a program"]["found"]


def test_a_machine_that_holds_no_connects() -> None:
    code, findings = doctor(EPERM, "setsockopt", (2, "==", 25))
    assert code == 0
    assert outcomes(findings, "lacks") == {"pending connects"}


def test_a_kernel_that_cannot_filter_all_threads_at_once() -> None:
    code, findings = doctor(EINVAL, "seccomp", (1, "any of", 16))
    assert code == 0
    assert outcomes(findings, "lacks") == {"filters for every thread", ATTACHING}
    assert "--engine ptrace" in findings[ATTACHING]["remedy"]


def test_a_machine_without_nf_tables() -> None:
    # AF_NETLINK, NETLINK_NETFILTER
    code, findings = doctor(EINVAL, "socket", (0, "==", 16), (2, "==", 12))
    assert code == 0
    assert outcomes(findings, "lacks") == {"stealing in the sandbox"}
    assert "iptables" in findings["stealing in the sandbox"]["cost"]


def test_a_machine_without_ipv6() -> None:
    code, findings = doctor(EINVAL, "socket", (0, "==", 10))
    assert code == 0
    assert outcomes(findings, "lacks") == {"IPv6"}


def test_a_kernel_without_sock_diag() -> None:
    code, findings = doctor(EINVAL, "socket", (0, "==", 16), (2, "==", 4))
    assert code == 0
    assert outcomes(findings, "lacks") == {"the kernel's list of sockets"}


@pytest.mark.parametrize(("call", "said"), [("ptrace", "cannot run"), ("unshare", "restrictions marked !")])
def test_people_get_lines(call: str, said: str) -> None:
    line = [sys.executable, "-c", OUTER, EPERM, call, "[]"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said in done.stdout.splitlines()[-1]
    assert "\x1b" not in done.stdout, "no colours where there is no terminal"
