"""What the tests of real filters need of the machine."""

import errno
import os
import subprocess

import pytest
from mirrord_seccomp import load
from mirrord_seccomp.bpf import compile
from mirrord_seccomp.syscalls import UnsupportedArch, current_arch

from .trying import command


@pytest.fixture(scope="session")
def filters() -> None:
    """Skip where a filter cannot be loaded."""
    try:
        current_arch()
    except UnsupportedArch as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def listeners(filters: None) -> None:
    """Skip where a filter with a listener cannot be loaded."""
    flags = load.NEW_LISTENER | load.WAIT_KILLABLE_RECV
    line = [*command(compile([], current_arch()), "getppid"), "--flags", str(flags)]
    output = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    if output.startswith(b"load"):
        code = int(output.split()[1])
        reason = f"no seccomp listener to be had here: {os.strerror(code)}"
        if code not in (errno.EBUSY, errno.EINVAL):
            pytest.fail(reason)
        pytest.skip(reason)
