"""The process that will become the program: forked early, parked until it is told what to execute.

It must be forked before the supervisor leaves the terminal's session, since only then is it in the job's
process group, and before anything heavy is imported, since it carries the parent's memory until its
``execve``.
"""

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

_FALLBACK_PATH: Final = os.defpath.encode()
_SHELL: Final = b"/bin/sh"
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True)
class Parked:
    """A process that waits for its orders."""

    pid: int
    orders: int
    """Write end; closing it without a word ends the process."""
    report: int
    """Read end, at its end once the program runs, else the errno of the failed ``execve``."""

    def execute(self, argv: Sequence[bytes], environment: Mapping[bytes, bytes]) -> None:
        """Tell the process what to become."""
        text = json.dumps(
            [
                [argument.decode("latin-1") for argument in argv],
                {name.decode("latin-1"): value.decode("latin-1") for name, value in environment.items()},
            ]
        )
        try:
            with open(self.orders, "wb") as orders:
                orders.write(text.encode())
        except BrokenPipeError:
            # it was killed; who waits for its first stop sees that
            return

    def failure(self) -> int:
        """Return the errno of the failed ``execve``, 0 if the process ended without one."""
        with open(self.report, "rb") as report:
            return int(report.read() or b"0")


def park(close_in_child: Sequence[int], *, in_child: Callable[[], None]) -> Parked:
    """Fork the process that will become the program; ``in_child`` runs there at once."""
    orders_read, orders_write = os.pipe()
    report_read, report_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        for fd in (orders_write, report_read, *close_in_child):
            os.close(fd)
        in_child()
        _become(orders_read, report_write)
    os.close(orders_read)
    os.close(report_write)
    return Parked(pid, orders_write, report_read)


def _become(orders: int, report: int) -> NoReturn:
    """Wait for the orders and execute them; the process ends here if that fails."""
    with open(orders, "rb") as stream:
        text = stream.read()
    if not text:
        os._exit(0)
    raw_argv, raw_environment = json.loads(text)
    argv = [argument.encode("latin-1") for argument in raw_argv]
    environment = {name.encode("latin-1"): value.encode("latin-1") for name, value in raw_environment.items()}
    for ignored in _IGNORED_BY_PYTHON:
        signal.signal(ignored, signal.SIG_DFL)
    os.write(report, b"%d" % _execute(argv, environment))
    os._exit(127)


def _execute(argv: list[bytes], environment: dict[bytes, bytes]) -> int:
    """Execute as execvp(3) does; return the errno if nothing could be executed."""
    denied = False
    for path in _candidates(argv[0], environment.get(b"PATH", _FALLBACK_PATH)):
        try:
            os.execve(path, argv, environment)
        except ValueError:
            # Python's own refusal, of an empty name, a NUL, or a variable that has "=" in its name
            return errno.EINVAL if argv[0] else errno.ENOENT
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                # a script without "#!": POSIX has the caller run it by the shell
                return _execute([_SHELL, path, *argv[1:]], environment)
            if error.errno == errno.EACCES:
                # a directory of PATH that may not be searched says nothing about the program
                denied = denied or os.path.lexists(path)
            elif error.errno not in (errno.ENOENT, errno.ENOTDIR):
                return error.errno or errno.EINVAL
    return errno.EACCES if denied else errno.ENOENT


def _candidates(name: bytes, search_path: bytes) -> Iterator[bytes]:
    if b"/" in name:
        yield name
    else:
        for directory in search_path.split(b":"):
            yield os.path.join(directory or b".", name)
