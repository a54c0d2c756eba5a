"""Another keeper in the place of one that was killed while its process was in a session.

The session has threads by then and cannot fork, so the new keeper is an interpreter of its own, which gets
the listener and the ledger as descriptors, and becomes nobody's child.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from mirrord_seccomp.notify import Listener
from mirrord_seccomp.rules import Rule

from mirrord.errors import AttachError
from mirrord.session import doors
from mirrord.session.keeping import Keeper, Kept
from mirrord.session.ordering import become_daemon
from mirrord.tracer.leaving import Leaving
from mirrord.tracer.ledger import Ledger


def replace(pid: int, listener: int, ledger: int, traps: Mapping[int, Sequence[Rule]]) -> None:
    """Start a keeper and wait until it can be asked; raise AttachError."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from mirrord.session import replacing; replacing.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([pid, listener, ledger, doors.encode(traps)]),
        pass_fds=(listener, ledger),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    if done.returncode:
        raise AttachError(f"process {pid} has no keeper")


def main() -> None:
    """Be the new keeper."""
    pid, fd, ledger, traps = json.load(sys.stdin)
    if (living := doors.connect(pid)) is not None:
        # somebody else was quicker
        living.close()
        sys.exit(1)
    path = doors.path_of(pid)
    door = doors.open_at(path)
    process = os.pidfd_open(pid)
    if os.fork():
        os._exit(0)
    become_daemon()
    listener = Listener(fd)
    leaving = Leaving(listener, doors.decode(traps))
    keeper = Keeper(None)
    keeper.keep(Kept(pid, listener, leaving, Ledger(ledger), path, door, process))
    keeper.serve()
