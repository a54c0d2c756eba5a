import os
import signal
from collections.abc import Callable
from threading import Thread

from mirrord.tracer.bell import Bell
from mirrord.tracer.stops import Signalled, decode
from mirrord.tracer.sys import WALL, WNOTHREAD

from ...support.processes import state
from ...support.waiting import until


def as_tracer(bell: Bell, act: Callable[[], None]) -> None:
    """Do something on a thread of its own that is the bell's tracer, as in a session."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            bell.hang()
            act()
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join(20)
    assert not raised
    assert not thread.is_alive()
    until("it ends with its tracer", lambda: _gone(bell.pid))


def _gone(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def heard(bell: Bell) -> Signalled:
    stop = decode(*os.waitpid(-1, WALL | WNOTHREAD))
    assert isinstance(stop, Signalled)
    assert stop.tid == bell.pid
    return stop


def test_a_ring_is_heard_whenever_it_came() -> None:
    bell = Bell()

    def listen() -> None:
        for _ in range(50):
            Thread(target=bell.ring).start()
            heard(bell).resume()
            bell.ring()
            heard(bell).resume()

    as_tracer(bell, listen)


def test_rings_while_one_is_heard_make_one_more() -> None:
    bell = Bell()

    def listen() -> None:
        bell.ring()
        stop = heard(bell)
        for _ in range(10):
            bell.ring()
        stop.resume()
        heard(bell).resume()
        until("it sleeps", lambda: state(bell.pid) == "S")
        assert os.waitpid(-1, WALL | WNOTHREAD | os.WNOHANG) == (0, 0)

    as_tracer(bell, listen)


def test_it_holds_nothing_of_ours_open() -> None:
    read, write = os.pipe()
    bell = Bell()
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)
    as_tracer(bell, lambda: None)


def test_no_other_signal_wakes_it() -> None:
    bell = Bell()

    def listen() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            os.kill(bell.pid, number)
        bell.ring()
        heard(bell).resume()

    as_tracer(bell, listen)
