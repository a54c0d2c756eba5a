"""The front: the process that the shell started and waits for. It imports nothing heavy and never blocks on
the session's work.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

from mirrord.config.options import ExecOptions
from mirrord.errors import EXIT_MIRRORD, MirrordError
from mirrord.session import keeper
from mirrord.session.chain import (
    EXITED,
    FAILED,
    LEFT,
    LET_GO,
    SIGNAL,
    SIGNALS,
    STARTED,
    STOPPED,
    Chain,
    Inherited,
    fill_standard_streams,
    receive,
    send,
)
from mirrord.session.directory import SESSION_VARIABLE, SessionDirectory
from mirrord.session.processes import become_subreaper, kill_all_descendants
from mirrord.session.say import say

_SIGNALFD_SIGINFO: Final = struct.Struct("=IiiI112x")
"""The start of ``struct signalfd_siginfo``: number, errno, code, sender (signalfd(2))."""
_SI_KERNEL: Final = 0x80
_WITNESS_TIME_MS: Final = 20
_PATIENCE: Final = 5.0
"""Seconds for the supervisor to end a session that is still starting."""
_ENDING: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})


@dataclass(frozen=True, slots=True)
class Watch:
    """Who watches a session from its beginning."""

    feed: socket.socket
    """The session's end of the connection to it."""
    process: int | None
    """A child of ours, which is waited for in the end: it may have more to write than is left to do here."""


def run(options: ExecOptions, watch: Watch | None = None) -> int:
    """Run one session from start to end; return the exit code, or die by the program's signal."""
    if SESSION_VARIABLE in os.environ:
        raise MirrordError(
            "this is already inside a mirrord session, and a process can have only one",
            remedy="leave the inner `mirrord exec` out of the command",
        )
    fill_standard_streams()
    directory = SessionDirectory.create()
    feed = watch.feed if watch is not None else None
    chain = Chain(options, directory, os.getpid(), Inherited.take(), feed)
    become_subreaper()
    channel, supervisors_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    witness, keepers_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        channel.close()
        os.close(witness)
        keeper.main(chain, supervisors_end, keepers_end)
    supervisors_end.close()
    os.close(keepers_end)
    chain.let_go_of_feed()
    watcher = watch.process if watch is not None else None
    return Front(chain, channel, witness, keeper_pid=pid, watcher_pid=watcher).serve()


class Front:
    """Waits for the supervisor's news and for signals."""

    def __init__(
        self,
        chain: Chain,
        channel: socket.socket,
        witness: int,
        *,
        keeper_pid: int,
        watcher_pid: int | None = None,
    ) -> None:
        self._chain: Final = chain
        self._channel: Final = channel
        self._witness: Final = witness
        self._keeper: Final = keeper_pid
        self._watcher: Final = watcher_pid
        self._signals: Final = _signalfd()
        self._keeper_status: int | None = None
        self._started: bool = False
        self._ended_by: int | None = None
        """The signal by which a session is to end that has not started yet."""
        self._deadline: float | None = None

    def serve(self) -> int:
        """Serve until the program, or the session, has ended."""
        poll = select.poll()
        for fd in (self._channel.fileno(), self._signals):
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll(self._patience())]
            if not ready and self._ended_by is not None:
                return self._end_early(self._ended_by)
            if self._channel.fileno() in ready:
                code = self._news(receive(self._channel))
                if code is not None:
                    return code
            if self._signals in ready and (code := self._signal()) is not None:
                return code
            if self._keeper_killed():
                return self._end_all("its keeper")

    def _news(self, words: list[str]) -> int | None:
        match words:
            case [kind] if kind == STARTED:
                # the program takes the signals from here on, also one that has just been sent
                self._started, self._ended_by, self._deadline = True, None, None
            case [kind, number] if kind == STOPPED:
                _die_or_stop(int(number))
                signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            case [kind, status] if kind == LEFT:
                os.kill(self._keeper, LET_GO)
                return end_as(int(status))
            case [kind, status] if kind == EXITED:
                self._wait_for_keeper()
                self._wait_for_watcher()
                return end_as(int(status))
            case [kind, code] if kind == FAILED:
                self._wait_for_keeper()
                self._wait_for_watcher()
                return int(code) if self._ended_by is None else self._die_early(self._ended_by)
            case []:
                if self._ended_by is not None:
                    return self._end_early(self._ended_by)
                return EXIT_MIRRORD if self._keeper_ends_all() else self._end_all("its supervisor")
        return None

    def _keeper_ends_all(self) -> bool:
        """Wait until the keeper, which has lost its child, has ended the session and said so; tell whether it
        has.

        Were it killed from here, a kill of ours in the next moment would leave the program running.
        """
        deadline = time.monotonic() + _PATIENCE
        while not self._keeper_ended() and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
        if not self._keeper_ended() or self._keeper_killed():
            return False
        self._wait_for_watcher()
        return True

    def _end_all(self, who: str) -> int:
        """End what is left, and say so."""
        ended = self._kill_all()
        say(f"the session was ended: {who} died{', and the program with it' if ended else ''}")
        return EXIT_MIRRORD

    def _keeper_killed(self) -> bool:
        """Tell whether the keeper was killed; its normal end comes with the supervisor's last words."""
        return self._keeper_ended() and os.WIFSIGNALED(self._keeper_status or 0)

    def _keeper_ended(self) -> bool:
        if self._keeper_status is None:
            pid, status = os.waitpid(self._keeper, os.WNOHANG)
            self._keeper_status = status if pid else None
        return self._keeper_status is not None

    def _wait_for_watcher(self) -> None:
        """Wait until who watches has written everything; it sees the end of the session by itself."""
        if self._watcher is not None:
            os.waitpid(self._watcher, 0)

    def _wait_for_keeper(self) -> None:
        if self._keeper_status is None:
            _, self._keeper_status = os.waitpid(self._keeper, 0)

    def _signal(self) -> int | None:
        try:
            number, _, code, _ = _SIGNALFD_SIGINFO.unpack(os.read(self._signals, _SIGNALFD_SIGINFO.size))
        except BlockingIOError:
            # a SIGCONT has thrown away the stop that was pending (signal(7))
            return None
        if not self._started and number in _ENDING:
            return self._ask_to_end(number)
        if number == signal.SIGCHLD or (code == _SI_KERNEL and number != signal.SIGHUP):
            # the terminal's signals reach the program as well: it is in the same process group. A hang-up
            # may be for the session's leader alone (tty_signal_session_leader), and that can be us.
            return None
        if not self._was_for_group(number):
            send(self._channel, SIGNAL, number)
        return None

    def _ask_to_end(self, number: int) -> int | None:
        """Have a session end whose program has not been started: the supervisor takes back what it has begun
        in the cluster. A second signal does not wait for that.
        """
        if self._ended_by is not None:
            return self._end_early(number)
        self._ended_by = number
        self._deadline = time.monotonic() + _PATIENCE
        send(self._channel, SIGNAL, number)
        return None

    def _patience(self) -> float | None:
        """Return the milliseconds that there are left for that, None where nothing is waited for."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic()) * 1000

    def _end_early(self, number: int) -> int:
        self._kill_all()
        return self._die_early(number)

    def _kill_all(self) -> bool:
        """Tell whether there was anything to end; who watches ends by itself."""
        ended = kill_all_descendants(spare=frozenset({self._watcher} if self._watcher else ()))
        self._wait_for_watcher()
        self._chain.directory.remove()
        return bool(ended)

    def _die_early(self, number: int) -> int:
        _die_or_stop(number)
        return 128 + number

    def _was_for_group(self, number: int) -> bool:
        """Tell whether the keeper got the signal too, and so the program."""
        poll = select.poll()
        poll.register(self._witness, select.POLLIN)
        while poll.poll(_WITNESS_TIME_MS):
            seen = os.read(self._witness, 1)
            if not seen or seen[0] == number:
                return bool(seen)
        return False


def _signalfd() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    mask = (ctypes.c_uint64 * 16)(sum(1 << (number - 1) for number in SIGNALS))
    fd: int = libc.signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK)
    return fd


def end_as(status: int) -> int:
    """Return the exit code of a wait status, or die by its signal."""
    if os.WIFSIGNALED(status):
        # one core dump is enough
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _die_or_stop(os.WTERMSIG(status))
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _die_or_stop(number: int) -> None:
    """Let a signal do to us what it did to the program."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        # the terminal's own one may still be pending: unblocked, it would stop us a second time
        signal.sigtimedwait({number}, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
