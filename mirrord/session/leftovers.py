"""What a session has made in the cluster, deleted by its keeper where the supervisor was killed.

Kubernetes would delete it too, but only when the agent has waited for its client in vain. What it holds for
that client ends with it.
"""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from mirrord.session.chain import Chain
from mirrord.session.say import say

_PATIENCE: Final = 4.0
"""Seconds that it may take; the front waits a little longer."""


def delete(chain: Chain, jobs: Sequence[str]) -> None:
    """Delete Jobs, each given as NAMESPACE/NAME, and wait for that; SIGCHLD must be blocked."""
    if not jobs:
        return
    pid = os.fork()
    if pid == 0:
        _child(chain, jobs)
    deadline = time.monotonic() + _PATIENCE
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        left = deadline - time.monotonic()
        if left <= 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        signal.sigtimedwait({signal.SIGCHLD}, left)


def _child(chain: Chain, jobs: Sequence[str]) -> None:
    code = 1
    try:
        # a credential plugin that is started must not inherit a full mask
        signal.pthread_sigmask(signal.SIG_SETMASK, chain.inherited.mask)
        asyncio.run(_delete(chain, jobs))
        code = 0
    except Exception as error:
        # whatever it was: this process has nobody else to tell
        say(f"what it had in the cluster goes by itself, as it could not be deleted: {error}")
    finally:
        os._exit(code)


async def _delete(chain: Chain, jobs: Sequence[str]) -> None:
    # the keeper imports nothing heavy before there is something to do
    from mirrord.config.load import resolve_for_program
    from mirrord.targets.kubernetes import cleanup
    from mirrord.targets.kubernetes.agents import access_of

    way = await access_of(resolve_for_program(chain.options, os.environ))
    try:
        await cleanup.delete(way, jobs)
    finally:
        await way.close()
