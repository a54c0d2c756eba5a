"""The names plane: the host name. Names of services are DNS, and so datagrams, connections and files."""

import os
from typing import Final

from mirrord.dispatch.row import Row, trap
from mirrord.dispatch.world import World
from mirrord.syscall import Call, Return, Verdict

_FIELD: Final = 65
"""``__NEW_UTS_LEN`` + 1 (include/uapi/linux/utsname.h)."""


class Names:
    """``uname``: gethostname(3) is made of it in every C library, in Go and in Java."""

    def __init__(self, world: World) -> None:
        self._here: Final = _utsname(os.fsencode(os.uname().nodename))
        self._utsname: Final = _utsname(world.hostname) if world.hostname is not None else b""

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [trap("uname", self.uname)] if self._utsname else []

    def uname(self, call: Call) -> Verdict:
        """Report this machine's kernel and the target's host name (uname(2))."""
        if call.watched:
            call.here(call.args[0], self._here)
        return Return(0, ((call.args[0], self._utsname),))


def _utsname(hostname: bytes) -> bytes:
    local = os.uname()
    with open("/proc/sys/kernel/domainname", "rb") as stream:
        domain = stream.read().rstrip(b"\n")
    fields = (
        local.sysname.encode(),
        hostname,
        local.release.encode(),
        local.version.encode(),
        local.machine.encode(),
        domain,
    )
    return b"".join(field[: _FIELD - 1].ljust(_FIELD, b"\0") for field in fields)
