"""Where a socket of the program was last seen, and how it is found again.

No duplicate of it is kept meanwhile: that would hide the program's ``close``.
"""

import socket
from collections.abc import Callable
from typing import Protocol


class Located(Protocol):
    """A socket of the program, as one of its threads named it in a call."""

    @property
    def tid(self) -> int: ...

    @property
    def fd(self) -> int: ...

    @property
    def inode(self) -> int: ...


FindSocket = Callable[[Located], socket.socket | None]
"""Return a duplicate of the program's socket, None when no process has it any more."""
