"""How a message with one descriptor lies in a thread's page (recvmsg(2), unix(7))."""

import os
import socket
import struct
from typing import Final

MESSAGE: Final = struct.Struct("=QI4xQQQQI4x")
"""``struct msghdr``: name and its length, parts and their number, control data and its length, flags."""
PART: Final = struct.Struct("=QQ")
RIGHTS: Final = struct.Struct("=QIIi4x")
"""``struct cmsghdr`` with one descriptor."""
AT_PART: Final = MESSAGE.size
AT_BYTE: Final = AT_PART + PART.size
AT_RIGHTS: Final = AT_BYTE + 8
AT_NAME: Final = AT_RIGHTS + RIGHTS.size


def sockaddr(name: bytes) -> bytes:
    """Return the ``struct sockaddr_un`` of an abstract address."""
    return struct.pack("=H", socket.AF_UNIX) + name


def must(result: int) -> int:
    """Return what a call in the program gave; raise OSError."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
