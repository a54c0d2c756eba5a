"""An agent's process that has done its imports before anybody needs it: they take most of its start."""

import os
import sys
from typing import NoReturn

from mirrord_agent import __main__ as agent

from mirrord.targets.sandbox.boot import receive


def main(_task: object) -> NoReturn:
    """Wait for the agent's arguments on stdin, then be ``python -m mirrord_agent``."""
    arguments = receive(0)
    assert isinstance(arguments, list)
    os.chdir("/")
    sys.argv = ["mirrord_agent", *arguments]
    agent.run()
