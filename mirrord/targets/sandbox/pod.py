"""The pod's main process: process 1 of its PID namespace, a server on port 8080, without any capability."""

import asyncio
import functools
import os
import resource
import signal
import socket
import traceback
from typing import NoReturn

from mirrord.errors import TargetError
from mirrord.targets.sandbox import files, linux, rootfs
from mirrord.targets.sandbox.boot import encode
from mirrord.targets.sandbox.contract import POD_PORT, PodSpec
from mirrord.targets.sandbox.network import BACKLOG, has_ipv6, tune
from mirrord.targets.sandbox.services.echo import EchoStream
from mirrord.targets.sandbox.services.http import HttpServer

_NAMESPACES = linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
_ECHO_PATH = "/app/echo.sock"


def start(spec: PodSpec, channel: socket.socket) -> int:
    """Fork the pod's main process and return its PID here; the network namespace is already the pod's.

    The other end of ``channel`` must send a byte before the pod ends with its parent's end; it gets a message
    (``boot.encode``) when the pod is ready: null, or what went wrong. The environment is this process's.
    Raises OSError.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    middle = os.fork()
    if middle == 0:
        # A process cannot go back from unsharing its children's PID namespace: one that ends does it.
        _fork_init(spec, channel, writing)
    os.close(writing)
    with open(reading, "rb") as file:
        answer = file.read()
    os.waitpid(middle, 0)
    number, _, pid = answer.partition(b" ")
    if int(number):
        raise OSError(int(number), os.strerror(int(number)))
    return int(pid)


def _fork_init(spec: PodSpec, channel: socket.socket, writing: int) -> NoReturn:
    try:
        linux.unshare(_NAMESPACES)
        pid = os.fork()
    except OSError as error:
        os.write(writing, f"{error.errno} 0".encode())
        os._exit(1)
    if pid:
        os.write(writing, f"0 {pid}".encode())
        os._exit(0)
    _main(spec, channel)


def _main(spec: PodSpec, channel: socket.socket) -> NoReturn:
    # Above all the control socket: while anybody has it, the creator does not see that the sandbox ended.
    os.closerange(3, channel.fileno())
    os.closerange(channel.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    try:
        _prepare(spec)
        asyncio.run(_serve(spec, channel))
    except TargetError as error:
        channel.sendall(encode([error.problem, error.remedy]))
    except OSError as error:
        channel.sendall(encode([f"the sandbox cannot be made: {rootfs.explain(error)}", ""]))
    except BaseException as error:  # the only one who can tell is the other end
        channel.sendall(encode(["".join(traceback.format_exception(error)), ""]))
    os._exit(1)


def _prepare(spec: PodSpec) -> None:
    linux.set_name("sandbox-pod")
    linux.set_hostname(spec.hostname)
    rootfs.enter()
    tune(forward=False)
    files.write_all(spec)
    linux.drop_capabilities()
    linux.be_inspectable()


async def _serve(spec: PodSpec, channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, _reap)
    http = functools.partial(HttpServer, spec.hostname)
    everywhere = ["0.0.0.0", "::"] if has_ipv6 else ["0.0.0.0"]
    await loop.create_server(http, everywhere, POD_PORT, backlog=BACKLOG)
    await loop.create_unix_server(EchoStream, _ECHO_PATH, backlog=BACKLOG)
    # Only now is the parent known to be the one that stays.
    loop.add_reader(channel.fileno(), _settle, channel)
    await loop.create_future()


def _settle(channel: socket.socket) -> None:
    asyncio.get_running_loop().remove_reader(channel.fileno())
    linux.die_with_parent(signal.SIGKILL)
    channel.setblocking(True)
    if not channel.recv(1):
        os._exit(1)
    channel.sendall(encode(None))


def _reap() -> None:
    """Wait for the orphans that process 1 of a PID namespace is given."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return


def raise_file_limit() -> None:
    """Allow as many open files as the machine gives."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
