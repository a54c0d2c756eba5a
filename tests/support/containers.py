"""Containers made by containerd and runc, under the default seccomp profile, which is Docker's in short: it
forbids pidfd_getfd, and process_vm_writev too.
"""

import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .build import ROOT
from .needs import missing, tool
from .user import User
from .waiting import until

_CONFIGURATION: Final = """
version = 2
root = "{place}/root"
state = "{place}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{place}/containerd.sock"
"""
_LINKS: Final = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")}


@dataclass(frozen=True, slots=True)
class Containers:
    """A containerd of one's own, and a root for what it runs."""

    place: Path

    def command(self, user: User, *argv: str) -> list[str]:
        """Return the command line, root's, that runs something as a user in a container, which sees this
        machine's programs and the user's directories, and has its own namespaces.
        """
        shared = ["/usr", "/etc", str(ROOT), str(Path(user.mirrord).parents[1]), str(user.home)]
        mounts = [f"--mount=type=bind,src={path},dst={path},options=rbind:rw" for path in shared]
        variables = [f"{name}={value}" for name, value in user.environment().items()]
        # what is below the directory that it is started in is the program itself, and local
        made = ["run", "--rm", "--rootfs", "--seccomp", "--cwd", str(ROOT), "--cgroup", "", *mounts]
        made.append(str(self.place / "rootfs"))
        inside = [tool("env"), "-i", *variables, *user.prefix, *argv]
        return [*self._ctr(), *made, f"test-{secrets.token_hex(4)}", *inside]

    def _ctr(self) -> list[str]:
        return [tool("ctr"), "-a", str(self.place / "containerd.sock")]

    def is_up(self) -> bool:
        """Tell whether it answers."""
        return subprocess.run([*self._ctr(), "version"], capture_output=True).returncode == 0


@contextmanager
def containers() -> Iterator[Containers]:
    """Start containerd; end it, and remove what it had, in the end."""
    for name in ("containerd", "ctr", "runc"):
        tool(name)
    if os.geteuid() != 0:
        missing("root, for containers,")
    with tempfile.TemporaryDirectory(prefix="containers-") as folder:
        place = Path(folder)
        configuration = place / "containerd.toml"
        configuration.write_text(_CONFIGURATION.format(place=place))
        for name, target in _LINKS.items():
            (place / "rootfs" / name).parent.mkdir(exist_ok=True)
            (place / "rootfs" / name).symlink_to(target)
        (place / "rootfs" / "tmp").mkdir(mode=0o1777)
        with (place / "log").open("wb") as log:
            daemon = subprocess.Popen([tool("containerd"), "-c", str(configuration)], stdout=log, stderr=log)
        with daemon:
            made = Containers(place)
            try:
                until("containerd is up", made.is_up)
                yield made
            finally:
                daemon.terminate()
