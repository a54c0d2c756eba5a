"""What a session has the keeper do: make a thread of the process enter a directory, or open one with O_PATH.

For that the thread makes calls of ours under ptrace (``tracer/itself.py``), and a tracer that is killed
leaves it in the middle of them. A keeper is not killed with its session, and comes to the session's end only
after what was asked before.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mirrord_seccomp.notify import NotificationId, Responder

from mirrord.session import doors
from mirrord.session.taken import Taken
from mirrord.syscall import Enter, OpenPath, Tid
from mirrord.tracer.excuses import Warn
from mirrord.tracer.itself import WaitingCall, carry_out_itself

_ENTER: Final = "enter"
_OPEN: Final = "open"
_DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call as its keeper knows it."""

    id: NotificationId
    tid: Tid


@dataclass(frozen=True, slots=True)
class Errands:
    """Carries verdicts out through the keeper of one process."""

    process: Taken
    ended: Callable[[], None]
    """Ends the session: the keeper may ask for that, too."""
    warn: Warn

    def carry_out(self, responder: Responder, call: WaitingCall, verdict: Enter | OpenPath) -> int:
        """Have the keeper answer a call, and return what the program got, ``-errno`` for a failure."""
        keeper = self.process.keeper
        doors.send(keeper, *_words(call, verdict), fds=[verdict.fd])
        while words := doors.receive(keeper)[0]:
            match words:
                case [kind, int(result), *warnings] if kind == _DONE:
                    os.close(verdict.fd)
                    for warning in warnings:
                        self.warn(str(warning))
                    return result
                case [doors.END]:
                    self.ended()
        # it was killed; another one takes its place later
        return carry_out_itself(responder, call, verdict, warn=self.warn)


def _words(call: WaitingCall, verdict: Enter | OpenPath) -> tuple[str | int, ...]:
    match verdict:
        case Enter():
            return _ENTER, call.id, call.tid
        case OpenPath(name=name, cloexec=cloexec):
            return _OPEN, call.id, call.tid, os.fsdecode(name), cloexec


def run(
    responder: Responder, words: Sequence[str | int | float], fds: Sequence[int]
) -> Sequence[str | int] | None:
    """Do what a session asks for, and return the answer for it; None when these words ask for nothing."""
    match words, fds:
        case [kind, int(id), int(tid)], [fd] if kind == _ENTER:
            return _carry_out(responder, Waiting(NotificationId(id), Tid(tid)), Enter(fd))
        case [kind, int(id), int(tid), str(name), cloexec], [fd] if kind == _OPEN:
            verdict = OpenPath(fd, os.fsencode(name), bool(cloexec))
            return _carry_out(responder, Waiting(NotificationId(id), Tid(tid)), verdict)
    return None


def _carry_out(responder: Responder, call: Waiting, verdict: Enter | OpenPath) -> Sequence[str | int]:
    warnings: list[str] = []
    return _DONE, carry_out_itself(responder, call, verdict, warn=warnings.append), *warnings
