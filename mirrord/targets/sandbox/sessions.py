"""A running sandbox as its supervisor sees it: services, the pod, and the sessions that use it."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
from typing import Final

from mirrord.errors import TargetError
from mirrord.targets.sandbox import boot, linux
from mirrord.targets.sandbox.agents import Agent
from mirrord.targets.sandbox.control import (
    MAX_LINE,
    AgentReady,
    AskAgent,
    AskProcesses,
    Message,
    Problem,
    Processes,
    decode,
    encode,
)
from mirrord.targets.sandbox.services import cluster

_CREDENTIALS: Final = struct.Struct("3i")
_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 5.0


class Sandbox:
    """Everything that a supervisor looks after, in the cluster's network namespace."""

    def __init__(
        self,
        *,
        hostname: str,
        pod: int,
        pod_channel: socket.socket,
        control: socket.socket,
        listener: socket.socket | None,
        listener_path: str,
        agent: Agent,
    ) -> None:
        self._hostname = hostname
        self._pod = pod
        self._pod_channel = pod_channel
        self._control = control
        self._listener = listener
        self._listener_path = listener_path
        self._spare: Agent | None = agent
        # The agents' sockets are in a directory that nobody can find but through this process, and that goes
        # with it.
        self._directory = linux.floating_tmpfs()
        self._agents = 0

    def run(self) -> None:
        """Serve until it is over; then nothing is left but the calling process."""
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        finally:
            if self._listener is not None:
                # While the name still leads here: later it might be somebody else's.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._listener_path)
            self._end_children()

    def _end_children(self) -> None:
        """Kill and wait for every child; the pod's descendants end with it, the orphans of others are
        adopted.
        """
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            for child in file.read().split():
                os.kill(int(child), signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._ready = loop.create_task(self._start())
        streams = await asyncio.open_connection(sock=self._control, limit=MAX_LINE)
        creator = loop.create_task(self._session(*streams))
        creator.add_done_callback(lambda _: self._end())
        if self._listener is not None:
            await asyncio.start_unix_server(self._visitor, sock=self._listener, limit=MAX_LINE)
        await self._over

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                if pid == self._pod:
                    self._end()

    async def _start(self) -> Problem | None:
        """Start the services, wait for the pod, and return what went wrong."""
        self._pod_channel.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=self._pod_channel)
        writer.write(b"\0")
        try:
            self._services = await cluster.serve()
            size = int.from_bytes(await reader.readexactly(4), "big")
            answer = boot.decode(await reader.readexactly(size))
        except asyncio.IncompleteReadError:
            return Problem("the sandbox's pod ended while it started", "")
        except OSError as error:
            return Problem(f"the sandbox's services could not be started: {error}", "")
        return Problem(*answer) if isinstance(answer, list) else None

    async def _visitor(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        if _CREDENTIALS.unpack(raw)[1] == os.getuid():
            await self._session(reader, writer)
        writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one session's requests until it ends, and its agents with it."""
        agents: list[Agent] = []
        try:
            while line := await reader.readline():
                answer = await self._answer(decode(line), agents)
                if isinstance(answer, AgentReady):
                    # one answer for each question: nothing waits to be written before it
                    _send_with(writer.get_extra_info("socket").fileno(), encode(answer), self._directory)
                    continue
                writer.write(encode(answer))
                await writer.drain()
        except (ConnectionError, ValueError):
            # Whoever is gone, or does not speak our language, has no session any more.
            return
        finally:
            for agent in agents:
                asyncio.get_running_loop().call_later(_END_SECONDS, _kill, agent.end())

    async def _answer(self, request: Message, agents: list[Agent]) -> Message:
        if (problem := await asyncio.shield(self._ready)) is not None:
            return problem
        if isinstance(request, AskProcesses):
            return Processes(os.getpid(), self._pod, self._hostname)
        if not isinstance(request, AskAgent):
            return Problem("the sandbox was asked for something that it does not have", "")
        try:
            return await self._start_agent(request.client_key, agents)
        except TargetError as error:
            return Problem(error.problem, error.remedy)

    async def _start_agent(self, client_key: str, agents: list[Agent]) -> AgentReady:
        agent, self._spare = self._spare or Agent(), None
        agents.append(agent)
        self._agents += 1
        name = f"agent-{self._agents}.sock"
        path = f"/proc/{os.getpid()}/fd/{self._directory}/{name}"
        agent.serve(target=self._pod, path=path, client_key=client_key)
        key = agent.key_of(await _first_line(agent.stdout))
        if self._listener is not None and self._spare is None:
            # For the next session.
            self._spare = Agent()
        return AgentReady(name, key)


def _send_with(fd: int, line: bytes, sent: int) -> None:
    """Send a line, and a duplicate of a descriptor with it (SCM_RIGHTS, unix(7))."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        socket.send_fds(sock, [line], [sent])


async def _first_line(fd: int) -> bytes:
    """Return the first line from a pipe, or what there is of it at the end or after half a minute."""
    loop = asyncio.get_running_loop()
    line = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_SECONDS):
            while not line.endswith(b"\n"):
                readable = asyncio.Event()
                loop.add_reader(fd, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(fd)
                if not (piece := os.read(fd, 4096)):
                    break
                line += piece
    return line


def _kill(handle: int) -> None:
    """End what a PID descriptor refers to, if it still is there."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
