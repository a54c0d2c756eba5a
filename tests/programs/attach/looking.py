"""What a program sees: a file, a name, a connection, the host name."""

import os
import socket


def file() -> str:
    """Return the first line of a file."""
    try:
        with open("/app/config.yaml") as stream:
            return stream.readline().strip()
    except OSError:
        return "ENOENT"


def name() -> str:
    """Return the address of a service."""
    try:
        return str(socket.getaddrinfo("echo.default.svc.cluster.local", 7, socket.AF_INET)[0][4][0])
    except OSError:
        return "unknown"


def connection() -> str:
    """Return what comes of a connection to a port that nobody serves."""
    try:
        socket.create_connection(("10.96.0.20", 9), 3).close()
    except ConnectionRefusedError:
        return "ECONNREFUSED"
    except OSError as error:
        return type(error).__name__
    return "connected"


def look() -> str:
    """Return it all in one line."""
    return f"{file()} {name()} {connection()} {os.uname().nodename}"
