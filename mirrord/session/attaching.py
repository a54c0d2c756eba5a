"""The front of ``mirrord attach`` and ``mirrord detach``: what the shell sees while others do the work.

The front waits for the supervisor, which serves the process's calls in a session of its own. Neither is an
ancestor of the process, so that it lives on whatever happens to them: its keeper sees to that.
"""

import os
import select
import signal
import socket
from typing import Final

from mirrord.config.options import AttachOptions
from mirrord.errors import EXIT_MIRRORD, AttachError, MirrordError
from mirrord.session import doors, ordering
from mirrord.session.chain import EXITED, FAILED, fill_standard_streams, receive, send
from mirrord.session.directory import SESSION_VARIABLE, SessionDirectory
from mirrord.session.front import Watch
from mirrord.session.say import say
from mirrord.tracer import attachable

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run(options: AttachOptions, watch: Watch | None = None) -> int:
    """Bring a running process under a session until one of the two ends; return the exit code.

    Raises AttachError where that is refused at the first look.
    """
    require(options.pid)
    fill_standard_streams()
    # whatever we have inherited: the ends of our children are waited for
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # it must not carry what is made from here on for as long as the process lives
    orders = ordering.spawn()
    directory = SessionDirectory.create()
    channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    front = os.getpid()
    feed = watch.feed if watch is not None else None
    supervisor = os.fork()
    if supervisor == 0:
        channel.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        from mirrord.session import attached

        attached.main(options, directory, orders=orders, channel=theirs, front=front, feed=feed)
    theirs.close()
    orders.close()
    if feed is not None:
        # so that who watches sees the session's end
        feed.close()
    code = _wait(channel, supervisor, options.pid, directory)
    if watch is not None and watch.process is not None:
        os.waitpid(watch.process, 0)
    return code


def require(pid: int) -> None:
    """Look whether a process can be attached to from here; raise MirrordError, or AttachError."""
    if SESSION_VARIABLE in os.environ:
        raise MirrordError(
            "this is already inside a mirrord session, whose calls are answered for it",
            remedy="attach from a terminal outside of it",
        )
    _require_no_tracing_session(pid)
    attachable.require(pid)


def _require_no_tracing_session(pid: int) -> None:
    """Say of a process that a session traces what can be done about that."""
    if (door := doors.connect(pid)) is None:
        return
    with door:
        session, _ = doors.peer(door)
    if attachable.is_traced_by(pid, session):
        raise AttachError(
            f"process {pid} is attached to already, by the session of process {session}",
            remedy=f"end it first: mirrord detach {pid}",
        )


def _wait(channel: socket.socket, supervisor: int, pid: int, directory: SessionDirectory) -> int:
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes)
    for number in _ENDING:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    poll = select.poll()
    for fd in (channel.fileno(), woken):
        poll.register(fd, select.POLLIN)
    asked = False
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if woken in ready:
            # who closes our terminal, the dashboard for one, sends SIGTERM too: that is asking once
            asking = os.read(woken, 64).replace(bytes([signal.SIGHUP]), b"")
            if asked and asking:
                # it does not come to its end: the keeper answers for the process
                os.kill(supervisor, signal.SIGKILL)
            asked = asked or bool(asking)
            send(channel, doors.END)
        if channel.fileno() in ready:
            match receive(channel):
                case [kind, code] if kind in (EXITED, FAILED):
                    os.waitpid(supervisor, 0)
                    return int(code)
                case []:
                    directory.remove()
                    say(f"the session was ended: its supervisor died; process {pid} goes on locally")
                    return EXIT_MIRRORD


def detach(pid: int) -> int:
    """End the session of an attached process, which goes on locally; return when it does.

    Raises AttachError when there is none.
    """
    keeper = doors.connect(pid)
    if keeper is None:
        attachable.Status.of(pid)
        raise AttachError(
            f"process {pid} has not been attached to",
            remedy="what mirrord exec has started ends with its session",
        )
    with keeper:
        doors.send(keeper, doors.DETACH)
        match doors.receive(keeper)[0]:
            case [doors.DETACHED]:
                say(f"process {pid} goes on locally")
                return 0
            case [doors.IDLE]:
                raise AttachError(f"process {pid} has no session: it is local already")
    raise AttachError(f"process {pid} has ended meanwhile")
