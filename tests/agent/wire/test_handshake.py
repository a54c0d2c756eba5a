import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_agent import __version__
from mirrord_agent.wire.errors import HandshakeError
from mirrord_agent.wire.handshake import (
    MOST_ADDRESSES,
    PROTOCOL,
    AgentHandshake,
    ClientHandshake,
    new_key,
    public_bytes,
    refusal,
)

CLIENT = new_key()
AGENT = new_key()
OTHER = new_key()


def client(
    *,
    key: object = CLIENT,
    agent_key: bytes = public_bytes(AGENT),
    protocol: int = PROTOCOL,
    received: int | None = None,
) -> ClientHandshake:
    return ClientHandshake(
        key=key,  # type: ignore[arg-type]
        agent_key=agent_key,
        protocol=protocol,
        version="1.0",
        received=received,
    )


def agent(
    *, key: object = AGENT, client_key: bytes = public_bytes(CLIENT), protocol: int = PROTOCOL
) -> AgentHandshake:
    return AgentHandshake(key=key, client_key=client_key, protocol=protocol, version="2.0")  # type: ignore[arg-type]


def test_both_sides_prove_themselves() -> None:
    ours, theirs = client(), agent()
    assert theirs.check(ours.prove(theirs.answer(ours.hello()))) is None
    welcome = ours.finish(theirs.welcome(addresses=("10.0.0.1",), hostname=b"pod-\xff", pid=7, grace=30))
    assert (welcome.addresses, welcome.hostname, welcome.pid) == (("10.0.0.1",), b"pod-\xff", 7)


def test_a_session_is_resumed() -> None:
    ours, theirs = client(received=7), agent()
    assert theirs.check(ours.prove(theirs.answer(ours.hello()))) == 7
    assert ours.resumed(theirs.resumed(2**40)) == 2**40


def test_what_the_client_asks_for_is_signed() -> None:
    ours, theirs = client(received=7), agent()
    proof = ours.prove(theirs.answer(ours.hello()))
    for wish in (b'"received":8', b'"received":null'):
        with pytest.raises(HandshakeError, match="its signature is wrong"):
            theirs.check(proof.replace(b'"received":7', wish))


def test_many_addresses_are_cut() -> None:
    ours, theirs = client(), agent()
    addresses = tuple(f"10.0.0.{number}" for number in range(100))
    welcome = ours.finish(theirs.welcome(addresses=addresses, hostname=b"", pid=1, grace=1))
    assert welcome.addresses == addresses[:MOST_ADDRESSES]


def test_another_agent_is_refused() -> None:
    ours, theirs = client(), agent(key=OTHER)
    with pytest.raises(HandshakeError, match="not the one that was started: its signature is wrong"):
        ours.prove(theirs.answer(ours.hello()))


def test_another_client_is_refused() -> None:
    ours, theirs = client(key=OTHER), agent(client_key=public_bytes(OTHER))
    proof = ours.prove(theirs.answer(ours.hello()))
    deceived = agent()
    deceived.answer(ours.hello())
    with pytest.raises(HandshakeError, match="the client's key is not the session's"):
        deceived.check(proof)


def test_a_proof_is_good_once() -> None:
    ours, theirs = client(), agent()
    hello = ours.hello()
    proof = ours.prove(theirs.answer(hello))
    again = agent()
    again.answer(hello)
    with pytest.raises(HandshakeError, match="its signature is wrong"):
        again.check(proof)


def test_an_agents_signature_is_no_clients_proof() -> None:
    same = new_key()
    ours = client(key=same, agent_key=public_bytes(same))
    theirs = agent(key=same, client_key=public_bytes(same))
    answer = theirs.answer(ours.hello())
    signature = answer.rpartition(b'"signature":')[2].rstrip(b"}")
    with pytest.raises(HandshakeError, match="its signature is wrong"):
        theirs.check(b'{"type":"client_proof","signature":' + signature + b"}")


def test_a_proof_before_the_hello_is_refused() -> None:
    ours, theirs = client(), agent()
    proof = ours.prove(theirs.answer(ours.hello()))
    with pytest.raises(HandshakeError, match="before its hello"):
        agent().check(proof)


@pytest.mark.parametrize("who", ["client", "agent"])
def test_another_protocol_is_explained(who: str) -> None:
    ours = client(protocol=PROTOCOL + (who == "client"))
    theirs = agent(protocol=PROTOCOL + (who == "agent"))
    with pytest.raises(HandshakeError) as caught:
        theirs.answer(ours.hello())
    text = str(caught.value)
    assert f"mirrord 1.0 speaks protocol {PROTOCOL + (who == 'client')}" in text
    assert f"the agent 2.0 speaks protocol {PROTOCOL + (who == 'agent')}" in text
    with pytest.raises(HandshakeError, match=r"the agent refused: mirrord 1\.0 speaks"):
        ours.prove(refusal(caught.value))


def test_a_lying_agent_cannot_hide_its_protocol() -> None:
    ours, theirs = client(), agent()
    answer = theirs.answer(ours.hello()).replace(b'"protocol":2', b'"protocol":3')
    with pytest.raises(HandshakeError, match=r"the agent 2\.0 speaks protocol 3"):
        ours.prove(answer)


def test_the_versions_are_signed() -> None:
    ours, theirs = client(), agent()
    answer = theirs.answer(ours.hello()).replace(b'"version":"2.0"', b'"version":"2.1"')
    with pytest.raises(HandshakeError, match="its signature is wrong"):
        ours.prove(answer)


def test_a_refusal_is_shown_without_control_characters() -> None:
    with pytest.raises(HandshakeError) as caught:
        client().finish(refusal(HandshakeError("no \x1b[31m" + "x" * 1000)))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_explained_error(message: bytes) -> None:
    theirs = agent()
    for step in (client().prove, client().finish, theirs.answer, theirs.check):
        with pytest.raises(HandshakeError, match=r"is no|before its hello"):
            step(message)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_a_changed_byte_is_noticed(place: int, bit: int) -> None:
    ours, theirs = client(), agent()
    answer = bytearray(theirs.answer(ours.hello()))
    fixed = answer.index(b'"protocol"')
    answer[fixed + place % (len(answer) - fixed)] ^= 1 << bit
    with pytest.raises(HandshakeError):
        ours.prove(bytes(answer))


def test_the_version_is_the_packages() -> None:
    assert __version__.encode() in ClientHandshake(key=CLIENT, agent_key=public_bytes(AGENT)).hello()
