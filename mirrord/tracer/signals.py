"""Whether a thread has a signal to take, read from ``/proc/TID/status`` (proc_pid_status(5)).

A notification that was received lets only fatal signals through (``WAIT_KILLABLE_RECV``), so what else is
pending must be looked for: it is there that the kernel shows it.
"""

import signal
from typing import Final

from mirrord.syscall import Gone


def _mask(*numbers: signal.Signals) -> int:
    return sum(1 << (number - 1) for number in numbers)


_IGNORED_BY_DEFAULT: Final = _mask(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
_FIELDS: Final = (b"SigPnd:", b"ShdPnd:", b"SigBlk:", b"SigIgn:", b"SigCgt:")


def pending(tid: int) -> bool:
    """Tell whether a signal waits that would end the thread's system call; raise Gone when the thread is no
    more.

    That is one that is neither blocked nor ignored: caught ones, stops, and core dumps (which unlike other
    deaths do not break a killable wait).
    """
    try:
        with open(f"/proc/{tid}/status", "rb", buffering=0) as status:
            text = status.read(8192)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Gone from error
    thread, process, blocked, ignored, caught = (_field(text, name) for name in _FIELDS)
    return bool((thread | process) & ~blocked & ~ignored & ~(_IGNORED_BY_DEFAULT & ~caught))


def _field(text: bytes, name: bytes) -> int:
    start = text.index(name) + len(name)
    return int(text[start : text.index(b"\n", start)], 16)
