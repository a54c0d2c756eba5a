"""The keeper: parent of the supervisor, witness of signals to the whole job, and the one that is left when
both others are killed.
"""

import math
import os
import signal
import socket
import time
from typing import Final, NoReturn

from mirrord.errors import EXIT_MIRRORD
from mirrord.session.chain import FRONT_GONE, LET_GO, SIGNALS, Chain, leave_standard_streams
from mirrord.session.leftovers import delete
from mirrord.session.processes import become_subreaper, kill_all_descendants
from mirrord.session.say import say
from mirrord.tracer.sys import PR_SET_PDEATHSIG, prctl

_CLEAN: Final = 0
_STUCK: Final = -1
_PATIENCE: Final = 5.0
"""Seconds in which the supervisor must have ended the session by itself once the front has died."""


def main(chain: Chain, supervisors_end: socket.socket, report: int) -> NoReturn:
    """Fork the supervisor and watch over it until the session's last process has ended."""
    become_subreaper()
    prctl(PR_SET_PDEATHSIG, FRONT_GONE)
    pid = os.fork()
    if pid == 0:
        os.close(report)
        from mirrord.session import supervisor

        supervisor.main(chain, supervisors_end)
    supervisors_end.close()
    chain.let_go_of_feed()
    leave_standard_streams(error=False)
    witness: int | None = report
    left, deadline = False, math.inf
    while (info := _next_signal(deadline)) is not None:
        number = info.si_signo
        if number == LET_GO and info.si_pid == chain.front:
            # who reads the job's standard error must see its end, although daemons are served on
            leave_standard_streams(error=True)
            left = True
        elif number == FRONT_GONE and info.si_pid == chain.front:
            if not left:
                # the supervisor is told by its channel, which it does not read before the program has started
                deadline = time.monotonic() + _PATIENCE
        elif number != signal.SIGCHLD:
            witness = _report(witness, number)
        elif (status := _ended(pid)) is not None:
            _finish(chain, status)
    _finish(chain, _STUCK)


def _next_signal(deadline: float) -> "signal.struct_siginfo | None":
    """Return the next signal, None when there is none before the deadline."""
    if deadline == math.inf:
        return signal.sigwaitinfo(SIGNALS)
    return signal.sigtimedwait(SIGNALS, max(0.0, deadline - time.monotonic()))


def _report(witness: int | None, number: int) -> int | None:
    """Tell the front of a signal; return where to tell it of the next, None when it has ended.

    A write to it then brings SIGPIPE, which we would report again, for ever. The session goes on for the
    daemons that the program left.
    """
    if witness is None:
        return None
    try:
        os.write(witness, bytes([number]))
    except BrokenPipeError:
        os.close(witness)
        return None
    return witness


def _ended(supervisor: int) -> int | None:
    """Reap what has ended; return the supervisor's wait status if it is among that."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == supervisor:
            found = status


def _finish(chain: Chain, status: int) -> NoReturn:
    if status == _CLEAN:
        os._exit(0)
    kill_all_descendants()
    jobs = chain.directory.made()
    chain.directory.remove()
    both = "its supervisor" if os.getppid() == chain.front else "its supervisor and its front"
    who = "its front" if status == _STUCK else both
    say(f"the session was ended: {who} died, and the program with it")
    delete(chain, jobs)
    os._exit(EXIT_MIRRORD)
