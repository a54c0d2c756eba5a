"""The door of a keeper: where it is found, and what is said there.

Messages are lists of words, as JSON in one packet each; a listener comes with its message as a descriptor.
"""

import errno
import json
import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal

from mirrord_seccomp.rules import Action, Op, Rule, Test

from mirrord.errors import AttachError
from mirrord.session.directory import base, private, within_reach

_CREDENTIALS: Final = struct.Struct("3i")
"""``struct ucred``: process, user, group (unix(7))."""
_DOOR: Final = re.compile(r"keeper-(\d+)\.sock")
_LARGEST: Final = 1 << 17

SERVE: Final = "serve"
DETACH: Final = "detach"
LISTENER: Final = "listener"
HELD: Final = "held"
"""Another session has the process; followed by that session's process id."""
END: Final = "end"
IDLE: Final = "idle"
"""No session has the process."""
DETACHED: Final = "detached"


def send(channel: socket.socket, *words: str | int | float, fds: Sequence[int] = ()) -> None:
    """Send one message with descriptors; that the other end is gone shows at the next read."""
    try:
        socket.send_fds(channel, [json.dumps(words).encode()], fds)
    except (BrokenPipeError, ConnectionResetError):
        return


def receive(channel: socket.socket, fds: int = 0) -> tuple[list[str | int | float], list[int]]:
    """Return the words and descriptors of one message, none when the other end is gone."""
    try:
        data, found, _, _ = socket.recv_fds(channel, _LARGEST, fds)
    except ConnectionResetError:
        return [], []
    return (json.loads(data) if data else []), list(found)


def path_of(pid: int) -> str:
    """Return where the keeper of a process is found."""
    return os.path.join(base(), f"keeper-{pid}.sock")


def connect(pid: int) -> socket.socket | None:
    """Return a connection to the keeper of a process, None if it has none of ours."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with within_reach(path_of(pid)) as name:
            door.connect(name)
    except FileNotFoundError:
        door.close()
        return None
    except ConnectionRefusedError:
        # its keeper was killed; the process may be another one by now
        door.close()
        with suppress(FileNotFoundError):
            # else somebody else was quicker
            os.unlink(path_of(pid))
        return None
    return door


def is_open(pid: int) -> bool:
    """Tell whether a process has a keeper of ours, or a session; a door that nobody is behind is removed."""
    door = connect(pid)
    if door is None:
        return False
    door.close()
    return True


def sweep() -> None:
    """Remove the doors that nobody is behind."""
    with suppress(FileNotFoundError):
        for name in os.listdir(base()):
            if (found := _DOOR.fullmatch(name)) is not None:
                is_open(int(found[1]))


def open_at(path: str) -> socket.socket:
    """Listen for sessions of a process; raise AttachError if it has a keeper."""
    private(os.path.dirname(path))
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = os.umask(0o177)
    try:
        with within_reach(path) as name:
            door.bind(name)
    except OSError as error:
        door.close()
        if error.errno == errno.EADDRINUSE:
            raise AttachError("the process is being attached to by another mirrord") from error
        raise
    finally:
        os.umask(mask)
    door.listen(16)
    return door


def peer(sock: socket.socket) -> tuple[int, int]:
    """Return the process and the user at the other end."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(raw)
    return pid, user


def remove(path: str) -> None:
    """Remove a door, and the directory if it was the last thing in it."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))


def encode(traps: Mapping[int, Sequence[Rule]]) -> str:
    """Return rules by number as text."""
    return json.dumps({number: [_encoded(rule) for rule in rules] for number, rules in traps.items()})


def _encoded(rule: Rule) -> list[object]:
    tests = [(test.arg, test.op.value, test.value, test.width, test.mask) for test in rule.tests]
    return [rule.syscall, rule.action.value, tests]


def decode(text: str) -> dict[int, tuple[Rule, ...]]:
    """Return what :func:`encode` has made text of."""
    return {
        int(number): tuple(_decoded(name, action, tests) for name, action, tests in rules)
        for number, rules in json.loads(text).items()
    }


def _decoded(name: str, action: int, tests: Iterable[tuple[int, str, int, Literal[32, 64], int]]) -> Rule:
    return Rule(
        name,
        Action(action),
        *(Test(arg, Op(op), value, width, mask=mask) for arg, op, value, width, mask in tests),
    )
