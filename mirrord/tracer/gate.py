"""The notify engine: receive one trapped call at a time, have it decided, carry the verdict out.

The gate is a thread of its own that blocks in the kernel, since that is 4 to 30 µs faster a call than waiting
in the event loop. It decides local cases at once; a call that has to wait for something remote goes to the
loop (``held.py``), so that it never delays another thread's calls. A call always gets an answer: a handler
that raises becomes ``Continue`` and a line of warning.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mirrord_seccomp.notify import Listener, Notification, NotificationId, Responder
from mirrord_seccomp.syscalls import current_arch
from mirrord_seccomp.syscalls import number as number_of

from mirrord.syscall import (
    CONTINUE,
    Enter,
    Fail,
    GiveFd,
    Gone,
    Handler,
    OpenPath,
    Return,
    Tid,
    Verdict,
    Wait,
)
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.excuses import Excuses, Warn
from mirrord.tracer.recorded import RecordedCall
from mirrord.tracer.recorder import Recorder
from mirrord.tracer.threads import Threads

_RT_SIGRETURN: Final = number_of("rt_sigreturn", current_arch())
_MOST_THREADS: Final = 4096
Hold = Callable[[TrappedCall, Wait], None]


class Gate:
    """Serves one listener with a table of handlers."""

    def __init__(
        self,
        listener: Listener,
        handlers: Mapping[int, Handler],
        received: dict[int, Notification],
        *,
        skipped: frozenset[str] = frozenset(),
        hold: Hold,
        warn: Warn,
    ) -> None:
        """``received`` is kept up with the last call of each thread."""
        self._listener: Final = listener
        self._handlers: Final = handlers
        self._hold: Final = hold
        self._excuses: Final = Excuses(warn)
        self.threads: Final = Threads(listener.valid, skipped)
        self._received: Final = received
        self.recorder: Recorder | None = None
        """Who remembers calls, while somebody watches; set from any thread."""

    def serve(self) -> None:
        """Answer calls until the last process under the filter has ended."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        listener, threads, handlers = self._listener, self.threads, self._handlers
        receive, send_continue = listener.receive, listener.send_continue
        received, returning = self._received, _RT_SIGRETURN
        while True:
            if not receive():
                if listener.finished():
                    return
                continue
            notification = listener.notification
            id, tid, _, number, _, _, a0, a1, a2, a3, a4, a5 = notification
            recorder = self.recorder
            if recorder is None or number == returning:
                call = TrappedCall(id, Tid(tid), number, (a0, a1, a2, a3, a4, a5), threads)
            else:
                call = RecordedCall(id, Tid(tid), number, (a0, a1, a2, a3, a4, a5), threads, recorder)
            try:
                verdict = handlers[number](call)
            except Exception as error:  # a call always gets an answer
                verdict = self._excuses.answer(call, number, error)
            if number != returning:
                if len(received) > _MOST_THREADS:
                    received.clear()
                received[tid] = notification
            if recorder is not None and isinstance(call, RecordedCall):
                self._answer_recorded(call, verdict)
            elif verdict is CONTINUE:
                send_continue(id)
            elif type(verdict) is Wait:
                self._hold(call, verdict)
            else:
                carry_out(listener, call, verdict)

    def _answer_recorded(self, call: RecordedCall, verdict: Verdict) -> None:
        call.look_closer()
        if verdict is CONTINUE:
            self._listener.send_continue(call.id)
            call.continued()
        elif type(verdict) is Wait:
            self._hold(call, verdict)
        else:
            call.answered(verdict, carry_out(self._listener, call, verdict))


CarryOutItself = Callable[[Responder, TrappedCall, Enter | OpenPath], int]


class Answers:
    """Answers calls from another thread than the gate's."""

    def __init__(self, responder: Responder, itself: CarryOutItself) -> None:
        """``itself`` carries out what only the program's own thread can do."""
        self._responder: Final = responder
        self._itself: Final = itself

    def valid(self, id: NotificationId) -> bool:
        """Tell whether a call still waits."""
        return self._responder.valid(id)

    def carry_out(self, call: TrappedCall, verdict: Verdict) -> None:
        """Answer a call."""
        call.answering()
        if isinstance(verdict, Enter | OpenPath):
            result = self._itself(self._responder, call, verdict)
        else:
            result = carry_out(self._responder, call, verdict)
        call.answered(verdict, result)


def carry_out(responder: Responder, call: TrappedCall, verdict: Verdict) -> int:
    """Answer a call, and return what the program got, ``-errno`` for a failure; that its thread is gone
    meanwhile is normal.
    """
    match verdict:
        case Return(value, writes):
            if (failed := _write(responder, call, writes)) is not None:
                return failed
            responder.send_value(call.id, value)
            return value
        case Fail(number):
            return _fail(responder, call.id, number)
        case GiveFd():
            return _give(responder, call, verdict)
        case _:
            responder.send_continue(call.id)
            return 0


def _fail(responder: Responder, id: NotificationId, number: int) -> int:
    responder.send_errno(id, number)
    return -number


def _write(responder: Responder, call: TrappedCall, writes: Iterable[tuple[int, bytes]]) -> int | None:
    """Put bytes into the program's memory; where that cannot be, fail the call and return what it got."""
    try:
        for address, data in writes:
            call.write(address, data)
    except OSError as error:
        return _fail(responder, call.id, error.errno or errno.EFAULT)
    except Gone:
        return 0
    return None


def _give(responder: Responder, call: TrappedCall, verdict: GiveFd) -> int:
    after: Callable[[int], None] = os.close
    # a signal during the ioctl could leave the call answered with 0 and no descriptor
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        if (failed := _write(responder, call, verdict.writes)) is not None:
            return failed
        return responder.give(call.id, verdict.fd, cloexec=verdict.cloexec)
    except FileNotFoundError:
        # the thread was killed meanwhile
        after = verdict.refused
        return 0
    except OSError as error:
        after = verdict.refused
        return _fail(responder, call.id, error.errno or errno.EMFILE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        after(verdict.fd)
