"""``python -m mirrord_agent``: start an agent for one target and one client."""

import argparse
import contextlib
import os
import re
import resource
import socket
import sys
from typing import NamedTuple, NoReturn

import uvloop

from mirrord_agent import __version__
from mirrord_agent.containers import first_process
from mirrord_agent.errors import AgentError
from mirrord_agent.server import FIRST_CLIENT, Keys, Listener, serve
from mirrord_agent.target import enter
from mirrord_agent.wire.handshake import new_key, public_bytes


class Place(NamedTuple):
    """Where to listen: at a path, or at an address and port; an empty address is every one."""

    path: str = ""
    address: tuple[str, int] | None = None
    tls: bool = False


def main() -> int:
    """Run the agent; return its exit status: 0 at its end, 1 if it could not start."""
    arguments = _parser().parse_args()
    try:
        return _run(arguments)
    except AgentError as error:
        print(f"mirrord-agent: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mirrord-agent", allow_abbrev=False)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--target-pid", type=int, metavar="PID", help="the process that is impersonated")
    target.add_argument(
        "--container-id", type=_container, metavar="ID", help="the container whose first process that is"
    )
    target.add_argument("--targetless", action="store_true", help="impersonate nobody: be the pod yourself")
    parser.add_argument(
        "--listen",
        type=_listen,
        action="append",
        required=True,
        metavar="unix:PATH|tcp:ADDRESS:PORT|tls:ADDRESS:PORT",
        help="where to listen; may be given more than once, and ADDRESS may be * for every one",
    )
    parser.add_argument(
        "--client-key", type=_public_key, required=True, metavar="HEX", help="the client's public Ed25519 key"
    )
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=FIRST_CLIENT,
        metavar="SECONDS",
        help="end if no client comes, or comes back",
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _listen(text: str) -> Place:
    kind, _, where = text.partition(":")
    address, _, port = where.rpartition(":")
    if kind == "unix" and where:
        return Place(path=where)
    if kind in ("tcp", "tls") and address and port.isdecimal() and int(port) < 2**16:
        return Place(address=("" if address == "*" else address.strip("[]"), int(port)), tls=kind == "tls")
    raise argparse.ArgumentTypeError("expected unix:PATH, tcp:ADDRESS:PORT or tls:ADDRESS:PORT")


def _container(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError("expected the 64 hexadecimal digits of a container's id")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError("expected a number of seconds, a day at most")
    return seconds


def _public_key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise argparse.ArgumentTypeError(f"expected the 32 bytes of an Ed25519 public key, found {len(key)}")
    return key


def _run(arguments: argparse.Namespace) -> int:
    _allow_many_descriptors()
    reserved = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    keys = Keys(own=new_key(), client=arguments.client_key)
    listeners = [Listener(_listener(place), tls=place.tls) for place in arguments.listen]
    try:
        target = enter(_target(arguments), reserved=reserved)
        ready = f"mirrord-agent {__version__} ready key={public_bytes(keys.own).hex()}"
        reason = uvloop.run(
            serve(
                target,
                keys,
                listeners,
                ready=ready,
                patience=arguments.patience,
                until_stdin_closes=arguments.until_stdin_closes,
            )
        )
    finally:
        for path in [place.path for place in arguments.listen if place.path]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    print(f"mirrord-agent: ended: {reason}", file=sys.stderr)
    return 0


def _target(arguments: argparse.Namespace) -> int:
    if arguments.targetless:
        return os.getpid()
    if arguments.container_id is not None:
        return first_process(arguments.container_id)
    pid: int = arguments.target_pid
    return pid


def _allow_many_descriptors() -> None:
    """Raise the soft limit to the hard one: each stream is a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listener(place: Place) -> socket.socket:
    """Bind the listener before the network namespace changes; a path is for this user only."""
    try:
        listener = _at_address(*place.address) if place.address is not None else _at_path(place.path)
    except OSError as error:
        where = place.path or "{} port {}".format(*place.address or ())
        raise AgentError(f"cannot listen at {where}: {error.strerror or error}") from error
    listener.listen(16)
    return listener


def _at_path(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    return listener


def _at_address(address: str, port: int) -> socket.socket:
    if not address:
        return _at_every_address(port)
    (family, kind, protocol, _, where), *_ = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(where)
    return listener


def _at_every_address(port: int) -> socket.socket:
    """Listen for both versions of IP where the machine has both."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def run() -> NoReturn:
    """Be the agent's process from here to its end."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # the interpreter would wait for the threads, and a file system that hangs can hold one of them for ever
    os._exit(status)


if __name__ == "__main__":
    run()
