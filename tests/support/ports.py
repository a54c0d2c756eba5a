"""Ports that nobody has."""

import random
import socket
from typing import Final

_RANGE: Final = (20_000, 32_000)
"""Below those that the kernel gives to clients and listeners without a port of their own."""


def free_port() -> int:
    """Return a port that is free in both networks, and that only who is told of it will take."""
    while True:
        port = random.randrange(*_RANGE)
        try:
            with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True):
                return port
        except OSError:
            continue
