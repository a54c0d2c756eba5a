"""An agent's process that has done its imports before anybody needs it: they take most of its start."""

import importlib
import os
import pkgutil
import runpy
import sys
from typing import Final

from mirrord.targets.sandbox.boot import receive

_AGENT: Final = "mirrord_agent"


def main(_task: object) -> None:
    """Import all of the agent, wait for its arguments on stdin, then be ``python -m mirrord_agent``."""
    package = importlib.import_module(_AGENT)
    for module in pkgutil.walk_packages(package.__path__, f"{_AGENT}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    arguments = receive(0)
    assert isinstance(arguments, list)
    os.chdir("/")
    sys.argv = [_AGENT, *arguments]
    runpy.run_module(_AGENT, run_name="__main__", alter_sys=True)
