"""The errors of the wire.

* :exc:`WireError`

  * :exc:`ChannelClosed`: the link is gone; the text says why.
  * :exc:`RequestFailed`: the target answered with an errno.
  * :exc:`StreamReset`: the stream is gone; it may carry an errno.
  * :exc:`HandshakeError`: the other side is not the one it must be, or speaks another protocol.
"""

import os


class WireError(Exception):
    """Raised when something failed on the way to the other side or there."""


class ChannelClosed(WireError):
    """Raised by whatever was waiting when the channel closed, and by what is asked of it after."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RequestFailed(WireError):
    """Raised when a call failed in the target."""

    def __init__(self, errno: int, reason: str = "") -> None:
        super().__init__(f"failed in the target: {reason or os.strerror(errno)}")
        self.errno = errno
        self.reason = reason


class StreamReset(WireError):
    """Raised by a reader when the stream was reset; ``errno`` is 0 if the other side gave none."""

    def __init__(self, errno: int) -> None:
        super().__init__(f"stream reset: {os.strerror(errno)}" if errno else "stream reset")
        self.errno = errno


class HandshakeError(WireError):
    """Raised when the handshake fails; the text is a sentence for people."""
