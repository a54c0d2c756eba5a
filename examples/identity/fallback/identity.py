"""The program of ../main.go, for machines with neither Go nor a C compiler."""

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

FILE: Final = "/app/config.yaml"
NAME: Final = "echo.default.svc.cluster.local"
PAGE: Final = "http://echo/"


def show(what: str, find: Callable[[], str]) -> None:
    """Print what is found, or why nothing is."""
    try:
        found = find()
    except urllib.error.URLError as error:
        found = f"-  ({getattr(error.reason, 'strerror', error.reason)})"
    except OSError as error:
        found = f"-  ({error.strerror})"
    except KeyError:
        found = "-  (not set)"
    print(f"  {what:31} {found:.45}")


def answer() -> str:
    """Return who answers, and whom it takes us for."""
    with urllib.request.urlopen(PAGE, timeout=5) as response:
        said = json.load(response)
    return f"{said['server']} answers {said['peer']}"


if __name__ == "__main__":
    show("host name", socket.gethostname)
    show("$GREETING", lambda: os.environ["GREETING"])
    show(FILE, lambda: Path(FILE).read_text().splitlines()[0])
    show(NAME, lambda: socket.gethostbyname(NAME))
    show(PAGE, answer)
