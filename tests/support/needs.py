"""Skip, or fail on CI, where the machine lacks what a test needs."""

import os
import shutil
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where everything is supposed to be installed."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI=true")
    pytest.skip(f"{what} is missing")


def tool(name: str) -> str:
    """Return the path of a program of the machine, also where root alone has that in its PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or missing(name)
