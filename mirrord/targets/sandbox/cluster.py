"""The supervisor's event loop: the services, and the clients of the control socket."""

import asyncio
import contextlib
import itertools
import os
import resource
import signal
import socket
from typing import Final

from mirrord.targets.sandbox import kernel
from mirrord.targets.sandbox.agents import Agent
from mirrord.targets.sandbox.control import (
    LINE_LIMIT,
    Failure,
    Greeting,
    Message,
    StartAgent,
    Warm,
    decode,
    encode,
)
from mirrord.targets.sandbox.services.cluster import listen


def run(
    cluster: "Cluster",
    *,
    pod_socket: socket.socket,
    creator: socket.socket,
    listener: socket.socket | None,
    agent: Agent | None,
) -> int:
    """Serve until the creator is gone, SIGTERM comes or the pod ends; return the exit status. Raises TargetError or OSError."""
    # 1,024 is the usual limit, and each connection takes a descriptor.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return asyncio.run(_serve(cluster, pod_socket, creator, listener, agent))


async def _serve(
    cluster: "Cluster",
    pod_socket: socket.socket,
    creator: socket.socket,
    listener: socket.socket | None,
    agent: Agent | None,
) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, _set, ended, 0)
    await listen()
    await _pod_is_ready(pod_socket)
    loop.add_reader(os.pidfd_open(cluster.pod), _set, ended, 1)
    if listener is not None:
        await asyncio.start_unix_server(cluster.serve_client, sock=listener, limit=LINE_LIMIT)
    reader, writer = await asyncio.open_connection(sock=creator, limit=LINE_LIMIT)
    served = asyncio.ensure_future(cluster.serve_client(reader, writer, agent))
    served.add_done_callback(lambda _: _set(ended, 0))
    return await ended


def _set(future: asyncio.Future[int], status: int) -> None:
    if not future.done():
        future.set_result(status)


async def _pod_is_ready(pod_socket: socket.socket) -> None:
    # Kept open: its end tells the pod that we are gone.
    pod_socket.setblocking(False)
    line = await asyncio.get_running_loop().sock_recv(pod_socket, LINE_LIMIT)
    if not line:
        raise Failure("the sandbox's pod ended before it was ready", "see what it wrote above").error()
    outcome = decode(line)
    if isinstance(outcome, Failure):
        raise outcome.error()


class Cluster:
    """The clients, and the agents that they have."""

    def __init__(self, *, hostname: str, pod: int) -> None:
        self.pod: Final = pod
        self._hostname = hostname
        self._sockets = kernel.unmounted_tmpfs()
        self._numbers = itertools.count()

    async def serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agent: Agent | None = None
    ) -> None:
        """Answer one client until it is gone, and end its agent then."""
        greeting = Greeting(hostname=self._hostname, pod=self.pod, supervisor=os.getpid())
        # A client may go at any time, and one that says what is no message is let go.
        with contextlib.suppress(ConnectionError, ValueError), contextlib.closing(writer):
            writer.write(encode(greeting))
            async for line in reader:
                message = decode(line)
                if agent is None and isinstance(message, Warm | StartAgent):
                    agent = Agent()
                if isinstance(message, StartAgent) and agent is not None:
                    writer.write(encode(await self._start(agent, message.client_key)))
        if agent is not None:
            agent.stop()

    async def _start(self, agent: Agent, client_key: str) -> Message:
        directory = f"/proc/{os.getpid()}/fd/{self._sockets}"
        listen = f"{directory}/agent-{next(self._numbers)}.sock"
        return await agent.start(client_key=client_key, target=self.pod, listen=listen)
