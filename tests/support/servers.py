"""Servers that print who asks for what, and the addresses that the sandbox has for both sides."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .build import SOURCES, command
from .needs import tool
from .ports import free_port

WEB: Final = "10.96.0.40"
POD4, POD6 = "10.244.0.2", "fd00:10:244::2"
CLIENT4, CLIENT6 = "10.244.0.1", "fd00:10:244::1"
PYTHON: Final = sys.executable
APPS: Final = str(SOURCES / "serve")
_GUNICORN: Final = ("-w", "4", "-b", "0.0.0.0:8080", "--no-control-socket", "--chdir", APPS)
# between its bind and its listen passes a second, in which another test could listen on the pod's port
UVICORN_PORT: Final = free_port()
UVICORN: Final = (
    *(PYTHON, "-m", "uvicorn", "--reload"),
    *("--host", "0.0.0.0", "--port", str(UVICORN_PORT)),
)
SERVERS: Final[dict[str, Callable[[], list[str]]]] = {
    "flask": lambda: [PYTHON, f"{APPS}/flask_app.py"],
    "gunicorn": lambda: [PYTHON, "-m", "gunicorn", *_GUNICORN, "flask_app:app"],
    "uvicorn": lambda: [*UVICORN, "--reload-dir", APPS, "--app-dir", APPS, "fastapi_app:app"],
    "node": lambda: command("serve-node"),
    "node-ipv4": lambda: [*command("serve-node"), "0.0.0.0"],
    "go": lambda: command("serve-go"),
    "java": lambda: command("serve-java"),
}


def accepts(way: str, *arguments: object) -> list[str]:
    """Return the command line of a server that accepts in one way."""
    return [*command("accepts"), way, *map(str, arguments)]


def nginx(folder: Path) -> list[str]:
    """Return the command line of an nginx that keeps its files in a folder."""
    program = tool("nginx")
    folder.chmod(0o777)
    configuration = folder / "nginx.conf"
    configuration.write_text((SOURCES / "serve" / "nginx.conf").read_text().replace("PREFIX", str(folder)))
    return [program, "-e", "/dev/stderr", "-c", str(configuration)]
