"""The supervisor: the process behind ``mirrord exec`` that serves the program's calls."""

import dataclasses
import errno
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from mirrord.errors import MirrordError
from mirrord.session.chain import FAILED, Chain, leave_standard_streams, send
from mirrord.session.processes import become_subreaper, kill_all_descendants
from mirrord.session.say import Sayings, say_error
from mirrord.targets import announce
from mirrord.tracer.parked import park

if TYPE_CHECKING:
    from mirrord.config.model import Settings


def main(chain: Chain, channel: socket.socket) -> NoReturn:
    """Run the session; the process ends with it."""
    # in this order: the program must stay in the terminal's session and the job's process group
    parked = park([channel.fileno()], in_child=chain.inherited.restore)
    os.setsid()
    become_subreaper()
    leave_standard_streams(error=False)
    # nobody but the chain sends us signals from here on; what we start must not inherit a full mask
    signal.pthread_sigmask(signal.SIG_SETMASK, chain.inherited.mask)
    allow_many_descriptors()
    allow_long_files()
    try:
        settings, sayings = _begin(chain)
        # only now anything heavy is imported
        from mirrord.session.local import LocalRun
        from mirrord.session.run import Run

        kind = LocalRun if chain.options.without_target else Run
        kind(chain, channel, parked, settings, sayings).serve()
    except MirrordError as error:
        _fail(chain, channel, error)
    except KeyboardInterrupt:
        _fail(chain, channel, MirrordError("interrupted"))
    except Exception as error:
        if os.environ.get("MIRRORD_TRACEBACK"):
            sys.excepthook(type(error), error, error.__traceback__)
        _fail(chain, channel, _explained(error))
    os._exit(0)


def _begin(chain: Chain) -> "tuple[Settings, Sayings]":
    """Read the settings, and say what is done first: the user hears of us before the rest is imported."""
    from mirrord.config.load import resolve_for_program

    options = chain.options
    if options.without_target:
        # the settings of a session name a target; this one's is never asked for
        options = dataclasses.replace(options, target="sandbox")
    settings = resolve_for_program(options, os.environ)
    sayings = Sayings(quiet=settings.quiet, verbose=settings.verbosity > 0)
    announce(settings, sayings)
    return settings, sayings


def _fail(chain: Chain, channel: socket.socket, error: MirrordError) -> NoReturn:
    kill_all_descendants()
    chain.directory.remove()
    say_error(error)
    send(channel, FAILED, error.exit_code)
    os._exit(0)


def allow_many_descriptors() -> None:
    """Raise our own soft limit: each connection of the program takes one here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def allow_long_files() -> None:
    """Raise our own limit, as far as it goes: remote files that the program only reads are written here."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def _explained(error: Exception) -> MirrordError:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return MirrordError(
            f"the session was ended: there are too few descriptors for it, {limit} at most",
            remedy="raise the limit of open files (ulimit -n)",
        )
    return MirrordError(
        f"a fault of mirrord itself ended the session: {type(error).__name__}: {error}",
        remedy="set MIRRORD_TRACEBACK=1 to see where, and report it",
    )
