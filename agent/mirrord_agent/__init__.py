"""The agent: opens sockets and reads files inside the target for one supervisor."""

from typing import Final

__version__: Final = "0.1.0"
