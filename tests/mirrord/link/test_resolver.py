import asyncio
import socket
from collections.abc import Awaitable, Callable

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.link import resolver as module
from mirrord.link.addresses import Peer, from_name
from mirrord.link.resolver import LocalResolver

from .agent import until

QUESTION = dns.message.make_query("Local.Example.", "A").to_wire()


def resolver(monkeypatch: pytest.MonkeyPatch, server: Peer) -> LocalResolver:
    monkeypatch.setattr(module, "_name_server", lambda: server)
    return LocalResolver(asyncio.get_running_loop(), lambda name: name != "local.example")


def with_server(story: Callable[[socket.socket], Awaitable[None]]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        asyncio.run(_coroutine(story, server))


async def _coroutine(story: Callable[[socket.socket], Awaitable[None]], server: socket.socket) -> None:
    await story(server)


def test_a_local_question_is_answered_here(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(server: socket.socket) -> None:
        answers: list[bytes] = []
        assert resolver(monkeypatch, from_name(server.getsockname())).takes(QUESTION, answers.append)
        question, asker = server.recvfrom(1000)
        assert question == QUESTION
        server.sendto(b"answer", asker)
        await until(lambda: answers == [b"answer"])

    with_server(story)


def test_a_remote_question_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(server: socket.socket) -> None:
        made = resolver(monkeypatch, from_name(server.getsockname()))
        assert not made.takes(dns.message.make_query("web.example.", "A").to_wire(), lambda answer: None)

    with_server(story)


def test_nobody_serves_names_here(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(server: socket.socket) -> None:
        where = from_name(server.getsockname())
        server.close()
        answers: list[bytes] = []
        made = resolver(monkeypatch, where)
        assert made.takes(QUESTION, answers.append)
        for _ in range(20):
            await asyncio.sleep(0)
        assert answers == []

    with_server(story)


@given(st.binary(max_size=200))
def test_garbage_has_no_name(garbage: bytes) -> None:
    name = module._asked(garbage)
    assert name is None or isinstance(name, str)


@given(st.integers(0, len(QUESTION)), st.binary(max_size=4))
def test_a_damaged_question_has_a_name_or_none(place: int, patch: bytes) -> None:
    module._asked(QUESTION[:place] + patch + QUESTION[place + len(patch) :])


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("nameserver 10.0.0.1\nnameserver 10.0.0.2\n", Peer("10.0.0.1", 53)),
        ("# nameserver 10.0.0.9\nsearch a b\nnameserver fe80::1%eth0\n", Peer("fe80::1", 53)),
        ("nameserver\n", Peer("127.0.0.1", 53)),
        ("", Peer("127.0.0.1", 53)),
        (None, Peer("127.0.0.1", 53)),
    ],
)
def test_the_name_server_of_this_machine(
    text: str | None, server: Peer, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("etc") / "resolv.conf"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(module, "_RESOLV_CONF", str(path))
    assert module._name_server() == server
