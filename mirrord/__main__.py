"""The entry point of the command ``mirrord`` and of ``python -m mirrord``."""

import os
import signal
import sys

from mirrord.errors import MirrordError


def main(arguments: list[str] | None = None) -> int:
    """Run a command line, this process's by default, and return its exit status; tell errors on stderr."""
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


if __name__ == "__main__":
    sys.exit(main())
