"""The entry point of the command ``mirrord`` and of ``python -m mirrord``."""

import contextlib
import io
import os
import signal
import sys
from typing import Final

from mirrord.errors import MirrordError

_COERCED: Final = ("C.UTF-8", "C.utf8", "UTF-8")


def main(arguments: list[str] | None = None) -> int:
    """Run a command line, this process's by default, and return its exit status; tell errors on stderr."""
    _undo_coercion()
    _write_what_can_be_written()
    from mirrord.cli import command

    try:
        return command.run(sys.argv[1:] if arguments is None else arguments)
    except MirrordError as error:
        from mirrord.session.say import say_error

        say_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        # whoever waits for us is to see that, too (WIFSIGNALED, wait(2))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT


def _undo_coercion() -> None:
    """Take back what the interpreter has done to the environment, which the program inherits: in the C locale
    it sets LC_CTYPE to one of UTF-8 (PEP 538).
    """
    if os.environ.get("LC_CTYPE") not in _COERCED:
        return
    with contextlib.suppress(OSError), open("/proc/self/environ", "rb") as stream:
        # as execve(2) gave it
        began = dict(text.partition(b"=")[::2] for text in stream.read().split(b"\0"))
        if (value := began.get(b"LC_CTYPE")) is not None:
            os.environ["LC_CTYPE"] = os.fsdecode(value)
        else:
            del os.environ["LC_CTYPE"]


def _write_what_can_be_written() -> None:
    """Have what the locale's encoding does not have written as something else."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            import codecs

            from mirrord.letters import instead

            codecs.register_error(instead.__module__, instead)
            stream.reconfigure(errors=instead.__module__)


if __name__ == "__main__":
    sys.exit(main())
