"""An application, its clients, and agents that steal from it, in the namespace of a test.

The protocol: a client writes a line, and gets it back with the name of whoever answers before it. An agent
answers lines that begin with its name, and passes on connections that begin with another.
"""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mirrord_agent.steal.listener import Listener, accept, connect_original
from mirrord_agent.steal.redirection import Method, Redirection, open_redirection

from ..namespace import fork
from ..running import tool

PORT: Final = 8080
LOOPBACKS: Final = ("127.0.0.1", "127.9.8.7", "::1")
_PATIENCE: Final = 20.0


def family(host: str) -> socket.AddressFamily:
    """Return the family of an address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def serve(name: str, *, port: int = PORT) -> list[socket.socket]:
    """Answer with a name, on every address."""
    listeners = []
    for kind, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        listener = socket.socket(kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((any_address, port))
        listener.listen(128)
        _in_thread(_accept_all, listener, name)
        listeners.append(listener)
    return listeners


class Client:
    """One connection."""

    def __init__(self, host: str = "127.0.0.1", *, port: int = PORT) -> None:
        self.socket: Final = socket.create_connection((host, port), timeout=_PATIENCE)
        self._reader: Final = self.socket.makefile("r")

    def ask(self, line: str) -> str:
        """Write a line; return the answer, empty at the end."""
        self.socket.sendall(line.encode() + b"\n")
        return self._reader.readline().rstrip("\n")

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()
        self.socket.close()


def ask(line: str, host: str = "127.0.0.1") -> str:
    """Ask on a new connection."""
    client = Client(host)
    try:
        return client.ask(line)
    finally:
        client.close()


class Agent:
    """An agent in a process of its own, that steals what begins with its name."""

    def __init__(
        self, name: str, *, method: Method | None = None, wait: bool = True, loopback_only: bool = False
    ) -> None:
        ready, now = os.pipe()
        self._ended, ending = os.pipe()
        self.pid: Final = fork()
        if self.pid == 0:
            try:
                os.close(ready)
                # a watchdog inherits it: it closes when both have ended
                os.dup2(ending, 2)
                os.close(ending)
                redirection = open_redirection(method=method, loopback_only=loopback_only)
                _steal(name, redirection, lambda: os.close(now))
            finally:
                os._exit(1)
        os.close(now)
        os.close(ending)
        if wait:
            assert os.read(ready, 1) == b""
        os.close(ready)

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the process, and wait for it and for its watchdog."""
        os.kill(self.pid, how)
        os.waitpid(self.pid, 0)
        self.wait_for_all()

    def wait_for_all(self) -> None:
        """Wait until whoever inherited its standard error has ended."""
        while os.read(self._ended, 4096):
            continue
        os.close(self._ended)


def left() -> list[str]:
    """Return every line of the namespace's rules that names us."""
    commands = [
        ["nft", "list", "ruleset"],
        ["iptables-legacy", "-t", "nat", "-S"],
        ["ip6tables-legacy", "-t", "nat", "-S"],
    ]
    found = []
    for command in commands:
        rules = subprocess.run([tool(command[0]), *command[1:]], capture_output=True, text=True, check=True)
        found += [line for line in rules.stdout.splitlines() if "mirrord" in line.lower()]
    return found


def sidecar(port: int) -> None:
    """Pass connections on to the application by the loopback device, as a mesh's sidecar does."""
    listener = socket.create_server(("", port))
    _in_thread(_relay_all, listener)


def _relay_all(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        application = socket.create_connection(("127.0.0.1", PORT))
        _in_thread(_copy, client, application)
        _in_thread(_copy, application, client)


def _steal(name: str, redirection: Redirection, ready: Callable[[], None]) -> None:
    listener = Listener()
    redirection.redirect(PORT, to=listener.port)
    ready()
    for sock in listener.sockets:
        sock.setblocking(True)
        _in_thread(_accept_stolen, sock, name, redirection)
    threading.Event().wait()


def _accept_stolen(listener: socket.socket, name: str, redirection: Redirection) -> None:
    while True:
        stolen = accept(listener, port=PORT)
        if stolen is None:
            continue
        stolen.socket.setblocking(True)
        if stolen.socket.recv(64, socket.MSG_PEEK).startswith(name.encode()):
            _in_thread(_answer, stolen.socket, name)
            continue
        original = connect_original(stolen.destination, mark=redirection.level.mark)
        original.setblocking(True)
        _in_thread(_copy, stolen.socket, original)
        _in_thread(_copy, original, stolen.socket)


def _accept_all(listener: socket.socket, name: str) -> None:
    with suppress(OSError):
        while True:
            _in_thread(_answer, listener.accept()[0], name)


def _answer(sock: socket.socket, name: str) -> None:
    with suppress(OSError), sock, sock.makefile("rb") as lines:
        for line in lines:
            sock.sendall(name.encode() + b":" + line)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _in_thread(work: Callable[..., None], *args: object) -> None:
    threading.Thread(target=work, args=args, daemon=True).start()
