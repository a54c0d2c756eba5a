"""``python -m mirrord_agent``: start an agent for one target and one client."""

import argparse
import contextlib
import os
import resource
import socket
import sys

import uvloop

from mirrord_agent import __version__
from mirrord_agent.errors import AgentError
from mirrord_agent.server import Keys, serve
from mirrord_agent.target import enter
from mirrord_agent.wire.handshake import new_key, public_bytes


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
    parser.add_argument("--target-pid", type=int, required=True, help="the process that is impersonated")
    parser.add_argument("--listen", type=_listen, required=True, metavar="unix:PATH", help="where to listen")
    parser.add_argument(
        "--client-key", type=_public_key, required=True, metavar="HEX", help="the client's public Ed25519 key"
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _listen(text: str) -> str:
    kind, _, path = text.partition(":")
    if kind != "unix" or not path:
        raise argparse.ArgumentTypeError("expected unix:PATH")
    return path


def _public_key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise argparse.ArgumentTypeError(f"expected the 32 bytes of an Ed25519 public key, found {len(key)}")
    return key


def _run(arguments: argparse.Namespace) -> int:
    _allow_many_descriptors()
    reserved = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    keys = Keys(own=new_key(), client=arguments.client_key)
    listener = _listener(arguments.listen)
    try:
        target = enter(arguments.target_pid, reserved=reserved)
        ready = f"mirrord-agent {__version__} ready key={public_bytes(keys.own).hex()}"
        reason = uvloop.run(
            serve(target, keys, listener, ready=ready, until_stdin_closes=arguments.until_stdin_closes)
        )
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(arguments.listen)
    print(f"mirrord-agent: ended: {reason}", file=sys.stderr)
    return 0


def _allow_many_descriptors() -> None:
    """Raise the soft limit to the hard one: each stream is a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listener(path: str) -> socket.socket:
    """Bind the listener, for this user only, before the network namespace changes."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError as error:
        raise AgentError(f"cannot listen at {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    listener.listen(16)
    return listener


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # the interpreter would wait for the threads, and a file system that hangs can hold one of them for ever
    os._exit(status)
