"""The table of a session without a target: calls are looked at, and all run by the kernel."""

from collections.abc import Callable, Iterator
from typing import Final

from mirrord_seccomp.syscalls import Kind, current_arch, table

from mirrord.dispatch.process import AFRESH, MOVES
from mirrord.dispatch.row import Row, equal, given, trap, trap_paths
from mirrord.syscall import CONTINUE, Call, Handler, Tid, Verdict

_SOCKETS: Final = (
    *("connect", "bind", "listen", "accept", "accept4", "getsockname", "getpeername"),
    *("sendmsg", "sendmmsg", "recvmsg", "recvmmsg"),
)
_SOL_SOCKET: Final = 1
_SO_ERROR: Final = 4
_FLAGS: Final = {"newfstatat": 3, "statx": 2}
"""Calls that may be about an open descriptor alone, and where that is said."""


class Watch:
    """Every call that names a file, a socket's address or a program."""

    def __init__(
        self,
        *,
        forget_thread: Callable[[Tid], None],
        forget_threads: Callable[[], None],
        returning_from_signal: Handler | None,
    ) -> None:
        self._forget_thread: Final = forget_thread
        self._forget_threads: Final = forget_threads
        self.returning: Final = returning_from_signal

    def rows(self) -> Iterator[Row]:
        """Return the calls."""
        yield from (trap(name, self.executing) for name in AFRESH)
        yield from (trap(name, self.moving) for name in MOVES)
        if self.returning is not None:
            yield trap("rt_sigreturn", self.returning)
        for call in table(current_arch()).values():
            if call.name not in (*AFRESH, *MOVES) and any(one.kind is Kind.PATH for one in call.args):
                yield from _on_path(call.name)
        yield trap("uname", look)
        yield from (trap(name, look) for name in _SOCKETS)
        yield trap("sendto", look, given(4))
        yield trap("recvfrom", look, given(4))
        yield trap("getsockopt", look, equal(1, _SOL_SOCKET), equal(2, _SO_ERROR))

    def executing(self, call: Call) -> Verdict:
        """Look at the thread afresh after this call: its memory will be another."""
        self._forget_thread(call.tid)
        return CONTINUE

    def moving(self, call: Call) -> Verdict:
        """Look at every thread afresh after this call."""
        self._forget_threads()
        return CONTINUE


def _on_path(name: str) -> tuple[Row, ...]:
    flags = _FLAGS.get(name)
    return (trap(name, look),) if flags is None else trap_paths(name, look, directory=0, flags=flags)


def look(call: Call) -> Verdict:
    """Let the kernel run it."""
    return CONTINUE
