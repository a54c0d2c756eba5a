"""The actions of ``mirrord sandbox``."""

import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mirrord.errors import TargetError
from mirrord.targets.sandbox import client, contract, enter, location, waiting
from mirrord.targets.sandbox.client import Sandbox

_ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def up(
    name: str = location.DEFAULT_NAME,
    *,
    hostname: str | None = None,
    env: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> int:
    """Keep a sandbox in the foreground until a signal ends it; return 0; raise UsageError or TargetError.

    ``env`` adds to the pod's environment or replaces what is there, ``files`` likewise: absolute paths and their contents.
    """
    location.check_name(name)
    settings = contract.Settings(hostname or contract.HOSTNAME, dict(env or {}), dict(files or {}))
    # Blocked before there is anything to clean up.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING | {signal.SIGCHLD})
    place = location.listen(name)
    with contextlib.ExitStack() as stack:
        stack.callback(place.remove)
        sandbox = stack.enter_context(client.make(settings, place=place))
        # From here on it is the supervisor's alone: it must refuse when that is dead.
        place.listener.close()
        sandbox.greeting()
        print(_usage(name, settings), flush=True)
        if signal.sigwait(_ENDING | {signal.SIGCHLD}) is signal.SIGCHLD:
            raise TargetError(
                f"the sandbox `{name}` ended", remedy="its main process was killed; start it again"
            )
    return 0


def _usage(name: str, settings: contract.Settings) -> str:
    default = name == location.DEFAULT_NAME
    target, flag = ("sandbox", "") if default else (f"sandbox/{name}", f"--name {name} ")
    return f"""\
The sandbox `{name}` is up: pod {settings.hostname}, {contract.POD_V4} and {contract.POD_V6}.
  mirrord exec -t {target} -- PROGRAM    a program of this machine, as if in the pod
  mirrord sandbox exec {flag}-- COMMAND    a command in the pod
  mirrord sandbox run {flag}-- COMMAND     a command in the cluster's network, as another pod
Ctrl-C ends it."""


def exec_(name: str | None, argv: Sequence[str]) -> int:
    """Run a command in the pod and return its exit code, or die by its signal; raise LaunchError or TargetError.

    Joins the sandbox ``name``; where the default one is not up, makes a private one. Enters it for good.
    """
    return _within(name, argv, enter.run_in_pod)


def run(name: str | None, argv: Sequence[str]) -> int:
    """Run a command in the cluster's network; otherwise as :func:`exec_`."""
    return _within(name, argv, enter.run_in_cluster)


def _within(name: str | None, argv: Sequence[str], action: Callable[[Sandbox, Sequence[str]], int]) -> int:
    with client.join(name or location.DEFAULT_NAME) as sandbox:
        try:
            status = action(sandbox, argv)
        except OSError as error:
            raise TargetError(f"the sandbox could not be entered: {error}") from error
    return waiting.follow(status)
