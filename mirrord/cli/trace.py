"""The command line of ``mirrord trace``. Standard library only until the session has been forked."""

import contextlib
import dataclasses
import difflib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

from mirrord.cli import attach
from mirrord.cli.flags import Flag
from mirrord.cli.options import Command, parse_with
from mirrord.config import variables
from mirrord.config.options import AttachOptions, ExecOptions
from mirrord.errors import MirrordError, UsageError
from mirrord.session import front
from mirrord.trace.options import TraceOptions

PLANES: Final = ("files", "outgoing", "incoming", "names", "process")
SIDES: Final = ("local", "remote", "absent")
_TRACE: Final = Command(
    "mirrord trace",
    """\
mirrord trace [--plain|--json|--summary] [-o FILE] [-e LIST] [EXEC'S FLAGS] [--] PROGRAM [ARGUMENTS]
       mirrord trace [THE SAME FLAGS] --attach PID [--descendants]""",
    """\
Run PROGRAM as `mirrord exec` does, and show each call that is looked at: what it
was, where it went, and what came of it. What the kernel runs itself has no
result here, `= ? (local)`, but with --results. At a terminal, without any of the first flags, it is
a dashboard. Without a target everything is local, and only looked at. With
--attach the process runs already, and goes on after, as with `mirrord attach`.""",
    (
        Flag(("--plain",), "a line for each call, in the manner of strace"),
        Flag(("-o", "--output"), "write to FILE, not to standard error", "FILE"),
        Flag(
            ("-e", "--only"),
            f"show only these: calls, or {', '.join((*PLANES, *SIDES))}",
            "PLANE|CALL,…",
        ),
        Flag(("--json",), "an object for each call, one a line"),
        Flag(("--summary",), "a table of all calls at the end"),
        Flag(("--results",), "the results of calls that the kernel runs, too; uses the engine ptrace"),
        Flag(("--pcap",), "the target's traffic as a capture file, for tshark and the like", "FILE"),
        Flag(("--attach",), "look at a process that runs already", "PID"),
        Flag(("--descendants",), "with --attach: its children, and theirs, too"),
    ),
    programless="attach",
)
Session = Callable[[front.Watch], int]
"""Run the session that is watched; return its exit code."""


def main(arguments: list[str]) -> int:
    """Run a session that is watched; raise MirrordError."""
    options, own = parse_with(_TRACE, arguments)
    if options.dry_run is not None:
        raise UsageError("--dry-run runs nothing that could be traced", remedy="use mirrord exec for it")
    if not _names_target(options):
        options = dataclasses.replace(options, without_target=True)
    if own["results"]:
        options = _with_results(options)
    trace, session = _options(own), _session(options, own, arguments)
    if trace.pcap is not None and options.without_target:
        raise UsageError("--pcap needs a target: without one nothing is remote", remedy="name one by -t")
    capture = _opened_capture(trace.pcap)
    if _shows_dashboard(trace):
        return _dashboard(session, capture)
    return _plain(session, trace, capture)


def _plain(session: Session, trace: TraceOptions, capture: IO[bytes] | None) -> int:
    out = _opened(trace.output)
    ours, theirs = socket.socketpair()
    if capture is not None:
        _ask(theirs, "TAP")
    pid = os.fork()
    if pid == 0:
        ours.close()
        _write(theirs, out, trace, capture)
    theirs.close()
    if trace.output is not None:
        out.close()
    return session(front.Watch(ours, pid))


def _ask(sock: socket.socket, *kinds: str) -> None:
    """Ask before the session is there, so that nothing of it is missed."""
    from mirrord.feed.frames import Kind, encode

    sock.send(b"".join(encode(Kind[kind]) for kind in kinds))


def _session(options: ExecOptions, own: dict[str, Any], arguments: list[str]) -> Session:
    """Return what starts the program, or attaches to one; raise UsageError or AttachError."""
    if own["attach"] is None:
        if own["descendants"]:
            raise UsageError("--descendants is for --attach", remedy="leave it out: a program's are traced")
        return lambda watch: front.run(options, watch)
    if options.program:
        raise UsageError("--attach and a program exclude each other", remedy="leave one of them out")
    attach.refuse_environment(arguments)
    attaching_to = AttachOptions(
        pid=attach.process_id(own["attach"]), descendants=own["descendants"], session=options
    )

    from mirrord.session import attaching

    attaching.require(attaching_to.pid)
    return lambda watch: attaching.run(attaching_to, watch)


def _with_results(options: ExecOptions) -> ExecOptions:
    """Return the options of a session that learns the results of all calls; raise UsageError."""
    if (options.engine or variables.engine(os.environ)) == "notify":
        raise UsageError(
            "--results needs the engine ptrace: notify does not learn what the kernel answers",
            remedy="leave one of them out",
        )
    return dataclasses.replace(options, engine="ptrace", results=True)


def _names_target(options: ExecOptions) -> bool:
    """Tell whether anything says where the program is to run: a flag, a variable, or a file that may."""
    named = options.target or os.environ.get("MIRRORD_IMPERSONATED_TARGET")
    return bool(named or options.config_file or os.environ.get("MIRRORD_CONFIG_FILE"))


def _shows_dashboard(trace: TraceOptions) -> bool:
    """Tell whether there is a terminal for it, and nothing else was asked for."""
    if trace.plain or trace.json or trace.summary or trace.output is not None or trace.selection:
        return False
    if not all(os.isatty(fd) for fd in (0, 1, 2)):
        return False

    from mirrord.dashboard import terminal

    return terminal.look() is not None


def _dashboard(session: Session, capture: IO[bytes] | None) -> int:
    from mirrord.dashboard import guard

    def prepare(feed: socket.socket) -> None:
        _ask(feed, "SELDOM", *(["TAP"] if capture is not None else []))

    def show(master: int, feed: socket.socket) -> int:
        from mirrord.dashboard import app
        from mirrord.trace.client import Client
        from mirrord.trace.pcap import Pcap

        return app.show(Client(feed), master, Pcap(capture) if capture is not None else None)

    return guard.run(session, show, prepare=prepare)


def _options(own: dict[str, Any]) -> TraceOptions:
    if own["json"] and own["summary"]:
        raise UsageError("--json and --summary exclude each other", remedy="leave one of them out")
    return TraceOptions(
        output=own["output"],
        selection=_selection(own["only"]) if own["only"] is not None else frozenset(),
        json=own["json"],
        summary=own["summary"],
        plain=own["plain"],
        pcap=own["pcap"],
    )


def _selection(text: str) -> frozenset[str]:
    """Return the words of ``-e``; strace's ``trace=`` may stand before them. Raise UsageError."""
    words = [word for word in text.removeprefix("trace=").split(",") if word]
    from mirrord_seccomp.syscalls import current_arch, number

    known = (*PLANES, *SIDES)
    for word in words:
        if word not in known and number(word, current_arch()) is None:
            near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]}?" if near else f"use names of calls, or {', '.join(known)}"
            raise UsageError(f"{word} is neither a plane nor a system call", remedy=remedy)
    if not words:
        raise UsageError("-e has nothing to show", remedy="name planes or system calls, with commas between")
    return frozenset(words)


def _opened(path: str | None) -> IO[str]:
    if path is None:
        return sys.stderr
    with _written(path):
        return open(path, "w", encoding="utf-8", errors="surrogateescape")


def _opened_capture(path: str | None) -> IO[bytes] | None:
    if path is None:
        return None
    with _written(path):
        return open(path, "wb")


@contextlib.contextmanager
def _written(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MirrordError(f"{path} cannot be written: {str(error.strerror).lower()}") from error


def _write(sock: socket.socket, out: IO[str], options: TraceOptions, capture: IO[bytes] | None) -> None:
    from mirrord.trace import printer

    code = 1
    try:
        printer.run(sock, out, options, capture)
        code = 0
    finally:
        os._exit(code)
