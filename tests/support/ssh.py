"""A login on this machine by ssh; the client starts its server, and they speak by a pipe (sshd -i)."""

import contextlib
import grp
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from .needs import tool
from .user import User

_PRIVILEGE_SEPARATION: Final = Path("/run/sshd")
"""What a server that is root wants to be there, empty (sshd(8))."""


@contextlib.contextmanager
def login(user: User, environment: Mapping[str, str]) -> Iterator[list[str]]:
    """Give the command that logs the user in, to which flags and a command are to be added; the session has
    this environment.
    """
    if os.geteuid() != 0 and not _terminals_are_ttys():
        pytest.skip("an sshd without root can give no terminal where devpts is mounted without gid=tty")
    server = tool("sshd")
    with contextlib.ExitStack() as after:
        if os.geteuid() == 0 and not _PRIVILEGE_SEPARATION.exists():
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755)
            after.callback(_PRIVILEGE_SEPARATION.rmdir)
        folder = user.home / "ssh"
        folder.mkdir(mode=0o700)
        after.callback(shutil.rmtree, folder)
        for name in ("host", "own"):
            line = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(line, check=True)
        variables = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
        config = folder / "config"
        config.write_text(
            f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/own.pub\nSetEnv {variables}\n"
            "StrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\nLogLevel ERROR\n"
        )
        options = [
            f"ProxyCommand={server} -i -f {config}",
            "StrictHostKeyChecking=no",
            f"UserKnownHostsFile={folder}/known",
            "LogLevel=ERROR",
            "ControlPath=none",
        ]
        flags = [word for option in options for word in ("-o", option)]
        yield [tool("ssh"), "-F", "none", "-i", str(folder / "own"), *flags, "localhost"]


def _terminals_are_ttys() -> bool:
    """Tell whether a new terminal has the group that sshd(8) wants it to have, and else gives it."""
    ours, theirs = os.openpty()
    group = os.fstat(theirs).st_gid
    os.close(ours)
    os.close(theirs)
    return group == grp.getgrnam("tty").gr_gid
