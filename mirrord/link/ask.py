"""Asking the agent about files, with the errnos that a program understands."""

import errno
import os
from typing import Final, TypeVar

from mirrord_agent.wire.channel import Channel, ChannelClosed, RequestFailed
from mirrord_agent.wire.messages import Message, Request

from mirrord.link.lead import Lead

LINK_LOST: Final = errno.EIO
"""What a file call gets when the agent is gone, as on a network file system (intro(2))."""
_PATH_MAX: Final = 4096
ReplyT = TypeVar("ReplyT", bound=Message)


async def ask(channel: Channel | Lead, request: Request, reply: type[ReplyT]) -> ReplyT:
    """Return the agent's reply; raise OSError."""
    try:
        return await channel.request(request, reply)
    except RequestFailed as failure:
        raise error(failure.errno) from failure
    except ChannelClosed as closed:
        raise error(LINK_LOST) from closed


def error(number: int) -> OSError:
    """Return the OSError of an errno."""
    return OSError(number, os.strerror(number))


def checked(path: bytes) -> bytes:
    """Return a path that a kernel takes; raise OSError ENAMETOOLONG, which it counts the NUL for."""
    if len(path) >= _PATH_MAX:
        raise error(errno.ENAMETOOLONG)
    return path
