"""The engine that is chosen where nobody names one."""

import sys
from collections.abc import Callable
from itertools import product

import pytest

from ..support.attaching import Attaching
from ..support.build import command
from ..support.running import Outcome, Runner
from ..support.sandboxes import Sandbox

HOST = "echo.default.svc.cluster.local"
PROBES = {
    "go": ("probe-go",),
    "node": ("probe-node",),
    "python": ("probe-python",),
    "java-nio": ("probe-java", "nio"),
}
UNDER = """
import os, sys
from mirrord_seccomp import bpf, load
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch
load.set_no_new_privs()
listener = load.load(bpf.compile([{rule}], current_arch()), {flags})
if listener:
    os.set_inheritable(listener, True)
os.execv(sys.argv[1], sys.argv[1:])
"""
SUPERVISED = UNDER.format(rule="Rule('fdatasync', Action.NOTIFY)", flags="load.NEW_LISTENER")
FORBIDDEN = UNDER.format(rule="Rule('pidfd_getfd', Action.ERRNO(1))", flags="0")


@pytest.mark.sample("supervised-python|forbidden-(go|java)")
@pytest.mark.parametrize("kind", ["go", "python", "node", "java"])
@pytest.mark.parametrize(
    ("under", "reason"),
    [(SUPERVISED, "refuses a seccomp listener"), (FORBIDDEN, "pidfd_getfd(2) is refused")],
    ids=["supervised", "forbidden"],
)
def test_where_notifications_do_not_work_programs_are_traced(
    runner: Runner, sandbox: Sandbox, kind: str, under: str, reason: str
) -> None:
    """As in containers whose runtime has a listener, or a profile like Docker's."""
    session = [runner.user.mirrord, "exec", "-v", "-t", sandbox.target, "--", *command(f"identity-{kind}")]

    outcome = runner.run([sys.executable, "-c", under, *session])

    assert outcome.lines[:4] == [
        f"greeting={sandbox.greeting}",
        f"hostname={sandbox.hostname}",
        f"config={sandbox.config}",
        "echo=10.96.0.20",
    ]
    assert "engine: ptrace" in outcome.err
    assert reason in outcome.err


@pytest.mark.notify_only("here nobody names the engine")
@pytest.mark.parametrize(
    ("under", "reason"),
    [(SUPERVISED, "refuses a seccomp listener"), (FORBIDDEN, "pidfd_getfd(2) is refused")],
    ids=["supervised", "forbidden"],
)
def test_where_notifications_do_not_work_what_runs_is_traced(
    attaching: Attaching, sandbox: Sandbox, under: str, reason: str
) -> None:
    with attaching.program(*command("look-go")) as running:
        local = running.look()
        with attaching.attached(running.pid, prefix=[sys.executable, "-c", under]) as session:
            seen = [running.look() for _ in range(3)]
            outcome = session.interrupt()
        assert [one.split()[0] for one in seen] == [sandbox.config] * 3
        assert running.look() == local
        running.end()
    assert "engine: ptrace" in outcome.err
    assert reason in outcome.err


@pytest.mark.sample("current-go-|python-9")
@pytest.mark.parametrize(("port", "outcome"), [("80", "ok"), ("9", "refused"), ("10", "timeout")])
@pytest.mark.parametrize("program", PROBES)
def test_without_duplicates_a_connection_ends_as_the_service_has_it(
    runner: Runner, sandbox: Sandbox, program: str, port: str, outcome: str
) -> None:
    name, *way = PROBES[program]
    patience = "1" if outcome == "timeout" else "30"
    probe = [*command(name), *way, HOST, port, patience]
    session = [runner.user.mirrord, "exec", "-q", "-t", sandbox.target, "--", *probe]

    assert runner.run([sys.executable, "-c", FORBIDDEN, *session]).lines == [outcome]


@pytest.mark.sample("plain")
@pytest.mark.parametrize("kind", ["plain", "restart"])
def test_without_duplicates_a_blocked_connect_is_interrupted(
    runner: Runner, sandbox: Sandbox, kind: str
) -> None:
    line = [*command("blocked"), "connect", kind, "10.96.0.20", "10"]
    session = [runner.user.mirrord, "exec", "-q", "-t", sandbox.target, "--", *line]

    outcome = runner.run([sys.executable, "-c", FORBIDDEN, *session])

    assert outcome.lines[:3] == ["EINTR", "alarms 1", f"ends {int(kind == 'restart')}"]


@pytest.mark.sample("current-(blocking-9|bound-7|fast-7)")
@pytest.mark.parametrize(
    ("way", "port"),
    [*product(["blocking", "non-blocking", "bound"], ["7", "9"]), ("fast", "7")],
)
def test_without_duplicates_a_socket_is_as_in_the_pod(
    runner: Runner, sandbox: Sandbox, in_pod: Callable[..., Outcome], way: str, port: str
) -> None:
    line = [*command("connects"), way, "10.96.0.20", port]
    session = [runner.user.mirrord, "exec", "-q", "-t", sandbox.target, "--", *line]

    assert runner.run([sys.executable, "-c", FORBIDDEN, *session]).lines == in_pod(*line).lines
