"""The keeper: parent of the supervisor, witness of signals to the whole job, and the one that is left when
both others are killed.
"""

import os
import signal
import socket
from typing import Final, NoReturn

from mirrord.errors import EXIT_MIRRORD
from mirrord.session.chain import LET_GO, SIGNALS, Chain, leave_standard_streams
from mirrord.session.processes import become_subreaper, kill_all_descendants
from mirrord.session.say import say

_CLEAN: Final = 0


def main(chain: Chain, supervisors_end: socket.socket, witness: int) -> NoReturn:
    """Fork the supervisor and watch over it until the session's last process has ended."""
    become_subreaper()
    pid = os.fork()
    if pid == 0:
        os.close(witness)
        from mirrord.session import supervisor

        supervisor.main(chain, supervisors_end)
    supervisors_end.close()
    chain.let_go_of_feed()
    leave_standard_streams(error=False)
    while True:
        info = signal.sigwaitinfo(SIGNALS)
        number = info.si_signo
        if number == LET_GO and info.si_pid == chain.front:
            # who reads the job's standard error must see its end, although daemons are served on
            leave_standard_streams(error=True)
        elif number not in (signal.SIGCHLD, signal.SIGPIPE):
            # SIGPIPE is our own, from a report that no front reads any more
            _report(witness, number)
        elif (status := _ended(pid)) is not None:
            _finish(chain, status)


def _report(witness: int, number: int) -> None:
    try:
        os.write(witness, bytes([number]))
    except BrokenPipeError:
        # the front has ended; the session goes on for the daemons that the program left
        return


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
    chain.directory.remove()
    if os.getppid() != chain.front:
        say("the session was ended: its supervisor and its front died, and the program with them")
    os._exit(EXIT_MIRRORD)
