"""The users that the tests run the command as."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .build import ROOT
from .needs import missing, tool

NOBODY: Final = 65534


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who runs mirrord, with a home and a runtime directory of their own."""

    name: str
    home: Path
    mirrord: str
    """The command, where this user can read it."""
    prefix: tuple[str, ...] = ()

    @property
    def runtime(self) -> Path:
        """Their XDG_RUNTIME_DIR."""
        return self.home / "run"

    def environment(self) -> dict[str, str]:
        """Return the variables of a clean login of theirs."""
        kept = {name: os.environ[name] for name in ("PATH", "CI", "LANG", "JAVA_HOME") if name in os.environ}
        return {**kept, "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime), "TERM": "xterm"}


def current(home: Path) -> User:
    """Return the user that runs the tests."""
    return _with_directories(User("root" if os.geteuid() == 0 else "me", home, str(_command())))


def ordinary(home: Path) -> User:
    """Return a user without any privilege, whom root becomes."""
    if os.geteuid() != 0:
        missing("root, to become an ordinary user,")
    prefix = (tool("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    user = _with_directories(User("ordinary", home, _readable(prefix), prefix))
    for path in (user.home, user.runtime):
        os.chown(path, NOBODY, NOBODY)
    return user


def _with_directories(user: User) -> User:
    user.home.chmod(0o700)
    user.runtime.mkdir(mode=0o700)
    return user


def _command() -> Path:
    return ROOT / ".venv" / "bin" / "mirrord"


@functools.cache
def _readable(prefix: tuple[str, ...]) -> str:
    """Return the installed command if these users may read it, else that of a copy."""
    if _works(prefix, _command()):
        return str(_command())
    copy = _copy(Path(tempfile.mkdtemp(prefix="install-")))
    if not _works(prefix, copy):
        missing("a Python that everybody may run")
    return str(copy)


def _works(prefix: tuple[str, ...], command: Path) -> bool:
    line = [*prefix, str(command), "--version"]
    return subprocess.run(line, cwd="/", capture_output=True).returncode == 0


def _copy(place: Path) -> Path:
    place.chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (installed,) = (ROOT / ".venv").glob("lib/python*/site-packages")
    left_out = shutil.ignore_patterns("__pycache__", "mypy*", "pip*", "*.pth", "_editable_*")
    shutil.copytree(installed, packages, ignore=left_out, dirs_exist_ok=True)
    for package in ("mirrord", "agent/mirrord_agent", "seccomp/mirrord_seccomp"):
        shutil.copytree(ROOT / package, packages / Path(package).name, dirs_exist_ok=True)
    command = place / "bin" / "mirrord"
    command.write_text(
        f"#!{place}/bin/python\nimport sys\nfrom mirrord.__main__ import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    return command
