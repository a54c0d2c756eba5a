"""An original application, a local one behind a link, and a stealer between them, in a namespace."""

import asyncio
import http.client
import http.server
import os
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from mirrord_agent.http.filter import HttpFilter
from mirrord_agent.http.output import Side
from mirrord_agent.http.request import Request
from mirrord_agent.steal.connection import Patience
from mirrord_agent.steal.listener import Endpoint, Stolen
from mirrord_agent.steal.redirection import open_redirection
from mirrord_agent.steal.stealer import Stealer
from mirrord_agent.wire.pump import Pump
from mirrord_agent.wire.stream import Stream

from ..namespace import fork
from ..running import Pair, joined, tool
from .scene import PORT

LOCAL_PORT: Final = 9090
TAKE: Final = HttpFilter(header_filter="^x-take: yes$")


class Application(http.server.ThreadingHTTPServer):
    """Says its name and what it was asked; understands a few paths."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.asked: list[str] = []
        # for both families: the default of IPV6_V6ONLY
        super().__init__(("::", port), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients go away in these tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Application

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        if self.path.startswith("/events"):
            self._events()
        elif self.path == "/socket":
            self._socket()
        elif self.path.startswith("/large/"):
            self._answer(b"x" * int(self.path.split("/")[2]))
        else:
            self._answer(f"{self.server.name} {self.command} {self.path}".encode())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        size, left = 0, int(self.headers["Content-Length"])
        while left and (data := self.rfile.read(min(left, 65_536))):
            size, left = size + len(data), left - len(data)
        self._answer(f"{self.server.name} got {size}".encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _events(self) -> None:
        """Send one event for each line that comes on the connection: the client goes at its own pace."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            self.wfile.write(f"data: {self.server.name}\n\n".encode())

    def _socket(self) -> None:
        self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
        self.send_header("Upgrade", "lines")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        for line in self.rfile:
            self.wfile.write(self.server.name.encode() + b":" + line)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class HttpWorld:
    """What tests need."""

    stealer: Stealer
    pair: Pair
    original: Application | None = None
    local: Application | None = None
    peers: list[Endpoint] = field(default_factory=list)
    decided: list[tuple[str, Side]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    refuse: bool = False
    local_port: int = LOCAL_PORT

    def steal(self, filter: HttpFilter | None = TAKE, *, patience: Patience | None = None) -> None:
        """Steal the port."""
        self.stealer.steal(PORT, filter, patience=patience, on_decided=self._on_decided)

    def _on_decided(self, request: Request, side: Side) -> None:
        self.decided.append((request.target, side))

    async def open_local(self, stolen: Stolen) -> Stream:
        """Open a stream to the local application, through the link."""
        self.peers.append(stolen.peer)
        if self.refuse:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = await self.pair.streams()
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, ("127.0.0.1", self.local_port))
        except OSError:
            sock.close()
            raise
        Pump(loop, sock, ours)
        self.streams.append(ours)
        return theirs

    async def curl(self, path: str, *options: str, host: str = "127.0.0.1") -> str:
        """Ask by curl; return what it prints, with its status if that is not 0."""
        return await run(tool("curl"), "-sS", "-g", "-m", "20", *options, f"http://{host}:{PORT}{path}")


async def run(*command: str) -> str:
    """Run a command; return what it prints, with its status if that is not 0."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return said.decode() + (f" [{process.returncode}]" if process.returncode else "")


@asynccontextmanager
async def http_world(*, apps: bool = True) -> AsyncIterator[HttpWorld]:
    """Make it all; remove it."""
    async with joined() as pair:
        redirection = open_redirection()
        world: HttpWorld
        stealer = Stealer(redirection, open_local=lambda stolen: world.open_local(stolen))
        world = HttpWorld(stealer, pair)
        if apps:
            world.original, world.local = Application("original", PORT), Application("local", LOCAL_PORT)
        try:
            yield world
        finally:
            stealer.close()


class Node:
    """An HTTP/2 server in Node that says its name, what it got, and a trailer."""

    _PROGRAM: Final = """
const http2 = require('http2');
const [name, port] = process.argv.slice(1);
http2.createServer().on('stream', (stream, headers) => {
  let size = 0;
  stream.on('data', piece => { size += piece.length; });
  stream.on('error', () => {});
  stream.on('end', () => {
    if (headers[':path'] === '/hang') { return; }
    stream.respond({':status': 200, 'x-name': name}, {waitForTrailers: true});
    stream.on('wantTrailers', () => stream.sendTrailers({'grpc-status': '0'}));
    const large = headers[':path'].match(/^\\/large\\/(\\d+)$/);
    stream.end(large ? 'x'.repeat(+large[1]) : `${name} ${headers[':method']} ${headers[':path']} ${size}`);
  });
}).listen(+port, '0.0.0.0', () => console.log('ready'));
"""

    def __init__(self, name: str, port: int) -> None:
        command = [tool("node"), "-e", self._PROGRAM, "--", name, str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def end(self) -> None:
        """End it."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


async def ask_at_once(count: int) -> list[str]:
    """Ask on one HTTP/2 connection by Node, every third time with ``x-take``; return the answers in order."""
    program = """
const http2 = require('http2');
const [port, count] = process.argv.slice(1);
const session = http2.connect(`http://127.0.0.1:${port}`);
const ask = number => new Promise((resolve, reject) => {
  const take = number % 3 ? {} : {'x-take': 'yes'};
  const stream = session.request({':method': 'POST', ':path': `/${number}`, ...take});
  let said = '', trailer = '';
  stream.setEncoding('utf8');
  stream.on('data', piece => { said += piece; });
  stream.on('trailers', trailers => { trailer = trailers['grpc-status']; });
  stream.on('end', () => resolve(`${said} ${trailer}`));
  stream.on('error', reject);
  stream.end('y'.repeat(number * 1000));
});
Promise.all([...Array(+count).keys()].map(ask)).then(lines => {
  console.log(lines.join('\\n'));
  session.close();
});
"""
    return (await run(tool("node"), "-e", program, "--", str(PORT), str(count))).splitlines()


class HttpAgent:
    """An agent in a process of its own, whose local application says the agent's name."""

    def __init__(self, name: str, port: int, *, wait: bool = True) -> None:
        reading, writing = os.pipe()
        self.pid: Final = fork()
        if self.pid == 0:
            try:
                asyncio.run(_be_agent(name, port, writing))
            finally:
                os._exit(1)
        os.close(writing)
        if wait:
            assert os.read(reading, 1) == b"."
        os.close(reading)

    def kill(self) -> None:
        """Kill it; everything of it is gone when this returns."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


async def _be_agent(name: str, port: int, ready: int) -> None:
    async with http_world(apps=False) as world:
        world.local_port = port
        Application(name, port)
        world.steal(HttpFilter(header_filter=f"^x-user: {name}$"))
        os.write(ready, b".")
        await asyncio.Event().wait()


def ask_as(user: str, host: str = "127.0.0.1") -> str:
    """Ask on a new connection, with the user's header; return the body, raise OSError or HTTPException."""
    connection = http.client.HTTPConnection(host, PORT, timeout=20)
    try:
        connection.request("GET", "/", headers={"X-User": user})
        return connection.getresponse().read().decode()
    finally:
        connection.close()
