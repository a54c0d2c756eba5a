"""Every call of the table, made once about nothing: it is trapped, and fails as it should."""

import json
import signal
from collections.abc import Mapping, Sequence
from typing import Final

import pytest
from mirrord_seccomp.rules import Op, Rule
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.dispatch.complete import CompleteTable
from mirrord.dispatch.watch import Watch

from ..conftest import Line
from ..support.build import SYSTEM_PYTHON
from ..support.running import Runner
from ..support.user import User

NEW: Final = ("getxattrat", "setxattrat", "listxattrat", "removexattrat", "file_getattr", "file_setattr")
REFUSED: Final = {"socket": "EPROTONOSUPPORT"} | dict.fromkeys(("io_uring_setup", *NEW), "ENOSYS")
"""What the filter itself fails, and how: nobody decides it."""
SIGRETURN: Final = "rt_sigreturn"
"""What no record is made of."""
CLONE_UNTRACED: Final = 0x00800000
MAKES: Final = """
import ctypes, errno, json, os, signal, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    result = libc.syscall(number, *map(ctypes.c_long, arguments))
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result
results = {}
for name, number, arguments in json.loads(sys.argv[1]):
    results[name] = call(number, *arguments)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.raise_signal(signal.SIGUSR1)
threading.Thread(target=int).start()
clone, untraced = map(int, sys.argv[2:])
if not (child := call(clone, untraced, 0, 0, 0, 0)):
    os._exit(7)
results["clone"] = os.waitpid(child, 0)[1] >> 8
print(json.dumps(results))
"""


def table() -> Mapping[str, Sequence[Rule]]:
    """Return when each call is trapped by a session that has every plane."""
    watch = Watch(
        forget_thread=lambda tid: None,
        forget_threads=lambda: None,
        returning_from_signal=(lambda call: pytest.fail("it is not called")),
    )
    return {rules[0].syscall: rules for rules in CompleteTable.looking(watch).traps.values()}


def arguments(rule: Rule) -> list[int]:
    """Return arguments that a rule traps: no descriptor, no address."""
    found = [-1] * 6
    for test in rule.tests:
        assert test.op in (Op.EQ, Op.NE), "say here how it is met"
        if test.op is Op.EQ:
            found[test.arg] = int(test.value)
    assert rule.matches([value % 2**64 for value in found])
    return found


def program(calls: Sequence[str]) -> list[str]:
    """Return the line of a program that makes these calls."""
    rules = table()
    made = [[name, number(name, current_arch()), arguments(rules[name][0])] for name in calls]
    clone = [str(number("clone", current_arch())), str(CLONE_UNTRACED | signal.SIGCHLD)]
    return [SYSTEM_PYTHON, "-c", MAKES, json.dumps(made), *clone]


@pytest.mark.both_engines
def test_every_call_is_trapped_and_answered(runner: Runner, line: Line, user: User, engine: str) -> None:
    trapped = table().keys() - REFUSED.keys() - {SIGRETURN}
    own = {"clone", "clone3"} if engine == "ptrace" else set()
    calls = [*sorted(trapped), *REFUSED]
    native = json.loads(runner.run(program(calls)).out)
    file = user.home / "calls"

    done = runner.run(line.of("trace", *program(calls), options=["--summary", "-o", str(file)]))

    rows = [row.split()[-1] for row in file.read_text().splitlines()[1:]]
    assert trapped | own <= set(rows)
    seen = json.loads(done.out)
    assert {name: seen[name] for name in REFUSED} == REFUSED
    # which of several things is wrong with such arguments is told in another order
    failures = {name for name, result in seen.items() if isinstance(result, str)}
    assert failures == {name for name, result in native.items() if isinstance(result, str)} | REFUSED.keys()
    assert seen["clone"] == native["clone"] == 7
    file.unlink()
