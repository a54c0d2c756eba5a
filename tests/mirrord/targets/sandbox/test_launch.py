"""What is heard of a sandbox that has ended."""

import socket
from collections.abc import Callable

import pytest

from mirrord.errors import TargetError
from mirrord.targets.sandbox.control import Problem, encode
from mirrord.targets.sandbox.launch import Connection


def say(theirs: socket.socket) -> None:
    theirs.sendall(encode(Problem("no namespaces", "allow them")))


def say_nothing(_: socket.socket) -> None:
    """End without a word."""


@pytest.mark.parametrize(
    ("last", "heard"),
    [(say, "no namespaces; allow them"), (say_nothing, "the sandbox has ended")],
)
def test_one_that_has_ended_before_it_was_asked_may_have_said_why(
    last: Callable[[socket.socket], None], heard: str
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        last(theirs)
        theirs.close()
        with pytest.raises(TargetError) as error:
            Connection(ours).processes()
    assert str(error.value) == heard
