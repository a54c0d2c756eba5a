"""Machines that lack something, simulated by a filter around what is run there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .user import User

_UNDER: Final = """
import json, os, sys
from mirrord_seccomp import bpf, load
from mirrord_seccomp.rules import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import current_arch
error, call, tests = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
action = Action.ERRNO(int(error)) if error else Action.NOTIFY
tests = [Test(argument, Op(op), value, 64) for argument, op, value in tests]
load.set_no_new_privs()
filter = bpf.compile([Rule(call, action, *tests)], current_arch())
listener = load.load(filter, 0 if error else load.NEW_LISTENER)
if listener:
    os.set_inheritable(listener, True)
os.execv(sys.argv[4], sys.argv[4:])
"""


@dataclass(frozen=True, slots=True)
class Lack:
    """A system call that fails with an errno, or, without one, a listener that others have."""

    errno: int | None
    call: str
    tests: tuple[tuple[int, str, int], ...] = ()
    """Of its arguments: which, how, with what (:class:`mirrord_seccomp.rules.Test`)."""

    def around(self, user: User, *argv: str) -> list[str]:
        """Return the command line that runs something on such a machine."""
        python = str(Path(user.mirrord).parent / "python")
        error = "" if self.errno is None else str(self.errno)
        return [python, "-c", _UNDER, error, self.call, json.dumps(self.tests), *argv]
