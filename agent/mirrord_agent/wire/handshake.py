"""The handshake: both sides prove that they have the session's Ed25519 keys before anything else; no I/O.

    client                                  agent
    ClientHello(protocol, version, nonce) →
                                          ← AgentHello(protocol, version, nonce, signature)
    ClientProof(signature, received)      →
                                          ← Welcome(addresses, hostname, pid, grace) | Resumed(received)

The agent may answer with Refused(reason) instead. A signature covers the signer's role, and both sides'
protocols, versions and nonces, and the agent's public key: it is of no use to anyone else, nor at any other
time. The client's covers also what it asks for: a new session, or (``received``) to resume the one it has.
"""

import os
import struct
from typing import Annotated, Final, Literal, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mirrord_agent import __version__
from mirrord_agent.wire.errors import HandshakeError
from mirrord_agent.wire.messages import ByteString

PROTOCOL: Final = 2
"""Of the wire; two sides with different numbers do not talk."""
MOST_ADDRESSES: Final = 32
_AGENT: Final = b"mirrord agent"
_CLIENT: Final = b"mirrord client"
_LENGTH: Final = struct.Struct("!H")
_SENTENCE: Final = 400

_Nonce = Annotated[ByteString, Field(min_length=32, max_length=32)]
_Signature = Annotated[ByteString, Field(min_length=64, max_length=64)]
_Number = Annotated[int, Field(ge=0, le=2**31)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Release = Annotated[str, Field(max_length=64)]


class _Step(BaseModel):
    # what a later protocol adds is ignored, so that a mismatch can still be explained
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)


class ClientHello(_Step):
    """The client begins."""

    type: Literal["client_hello"] = "client_hello"
    protocol: _Number
    version: _Release
    nonce: _Nonce


class AgentHello(_Step):
    """The agent proves itself."""

    type: Literal["agent_hello"] = "agent_hello"
    protocol: _Number
    version: _Release
    nonce: _Nonce
    signature: _Signature


class ClientProof(_Step):
    """The client proves itself."""

    type: Literal["client_proof"] = "client_proof"
    signature: _Signature
    received: _Count | None = None
    """Messages that the client has received, where it resumes its session."""


class Welcome(_Step):
    """The link is open; what the agent knows of the target by then."""

    type: Literal["welcome"] = "welcome"
    addresses: Annotated[tuple[str, ...], Field(max_length=MOST_ADDRESSES)]
    """The target's own addresses, the loopback's and link-local ones left out."""
    hostname: Annotated[ByteString, Field(max_length=64)]
    pid: int
    """The target's process, as the agent sees it."""
    grace: Annotated[float, Field(gt=0, lt=1e6)]
    """Seconds that the agent waits for a client whose connection broke."""


class Resumed(_Step):
    """The link goes on."""

    type: Literal["resumed"] = "resumed"
    received: _Count
    """Messages that the agent has received."""


class Refused(_Step):
    """The agent will not talk."""

    type: Literal["refused"] = "refused"
    reason: Annotated[str, Field(max_length=_SENTENCE)]


_S = TypeVar("_S", bound=_Step)


def new_key() -> Ed25519PrivateKey:
    """Return a fresh key."""
    return Ed25519PrivateKey.generate()


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the 32 bytes of a key's public half."""
    return key.public_key().public_bytes_raw()


def refusal(error: HandshakeError) -> bytes:
    """Return the message that tells the client why."""
    return _encode(Refused(reason=str(error)[:_SENTENCE]))


class ClientHandshake:
    """The client's side: :meth:`hello`, then :meth:`prove`, then :meth:`finish` or :meth:`resumed`."""

    def __init__(
        self,
        *,
        key: Ed25519PrivateKey,
        agent_key: bytes,
        received: int | None = None,
        protocol: int = PROTOCOL,
        version: str = __version__,
    ) -> None:
        """``received`` asks to resume a session of which so many messages have come."""
        self._key: Final = key
        self._received: Final = received
        self._agent_key: Final = agent_key
        self._hello: Final = ClientHello(protocol=protocol, version=version, nonce=os.urandom(32))

    def hello(self) -> bytes:
        """Return the first message."""
        return _encode(self._hello)

    def prove(self, message: bytes | bytearray | memoryview) -> bytes:
        """Check the agent's answer and return our proof; raise HandshakeError."""
        answer = self._parse(AgentHello, message)
        _check_protocols(self._hello, answer)
        transcript = _transcript(self._hello, answer, self._agent_key)
        _verify(
            self._agent_key,
            answer.signature,
            _AGENT + transcript,
            "the agent is not the one that was started",
        )
        signature = self._key.sign(_CLIENT + transcript + _wish(self._received))
        return _encode(ClientProof(signature=signature, received=self._received))

    def finish(self, message: bytes | bytearray | memoryview) -> Welcome:
        """Return the agent's welcome; raise HandshakeError."""
        return self._parse(Welcome, message)

    def resumed(self, message: bytes | bytearray | memoryview) -> int:
        """Return how many messages the agent has received; raise HandshakeError."""
        return self._parse(Resumed, message).received

    def _parse(self, kind: type[_S], message: bytes | bytearray | memoryview) -> _S:
        try:
            refused = Refused.model_validate_json(bytes(message))
        except ValidationError:
            return _decode(kind, message, "the agent")
        raise HandshakeError(f"the agent refused: {_printable(refused.reason)}")


class AgentHandshake:
    """The agent's side: :meth:`answer`, then :meth:`check`, then :meth:`welcome` or :meth:`resumed`."""

    def __init__(
        self,
        *,
        key: Ed25519PrivateKey,
        client_key: bytes,
        protocol: int = PROTOCOL,
        version: str = __version__,
    ) -> None:
        self._key: Final = key
        self._client_key: Final = client_key
        self._protocol: Final = protocol
        self._version: Final = version
        self._transcript: bytes | None = None

    def answer(self, message: bytes | bytearray | memoryview) -> bytes:
        """Take the client's first message and return ours; raise HandshakeError."""
        hello = _decode(ClientHello, message, "the client")
        ours = AgentHello(
            protocol=self._protocol, version=self._version, nonce=os.urandom(32), signature=bytes(64)
        )
        _check_protocols(hello, ours)
        transcript = _transcript(hello, ours, public_bytes(self._key))
        self._transcript = transcript
        return _encode(ours.model_copy(update={"signature": self._key.sign(_AGENT + transcript)}))

    def check(self, message: bytes | bytearray | memoryview) -> int | None:
        """Check the client's proof; raise HandshakeError.

        Return how many messages it has received of the session that it resumes, None if it begins one.
        """
        proof = _decode(ClientProof, message, "the client")
        if self._transcript is None:
            raise HandshakeError("the client sent its proof before its hello")
        _verify(
            self._client_key,
            proof.signature,
            _CLIENT + self._transcript + _wish(proof.received),
            "the client's key is not the session's",
        )
        return proof.received

    def welcome(self, *, addresses: tuple[str, ...], hostname: bytes, pid: int, grace: float) -> bytes:
        """Return the last message to a new client."""
        welcome = Welcome(addresses=addresses[:MOST_ADDRESSES], hostname=hostname, pid=pid, grace=grace)
        return _encode(welcome)

    def resumed(self, received: int) -> bytes:
        """Return the last message to a client that resumes."""
        return _encode(Resumed(received=received))


def _check_protocols(client: ClientHello, agent: AgentHello) -> None:
    if client.protocol != agent.protocol:
        raise HandshakeError(
            f"mirrord {_printable(client.version)} speaks protocol {client.protocol}, "
            f"the agent {_printable(agent.version)} speaks protocol {agent.protocol}: "
            "use the same version of both"
        )


def _transcript(client: ClientHello, agent: AgentHello, agent_key: bytes) -> bytes:
    parts = (
        str(client.protocol).encode(),
        client.version.encode(),
        client.nonce,
        str(agent.protocol).encode(),
        agent.version.encode(),
        agent.nonce,
        agent_key,
    )
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def _wish(received: int | None) -> bytes:
    """Return what a client's signature covers of what it asks for."""
    return b"begin" if received is None else b"resume" + received.to_bytes(8, "big")


def _verify(public_key: bytes, signature: bytes, data: bytes, problem: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        raise HandshakeError(f"{problem}: its signature is wrong") from None


def _encode(step: _Step) -> bytes:
    return step.model_dump_json().encode()


def _decode(kind: type[_S], message: bytes | bytearray | memoryview, who: str) -> _S:
    try:
        return kind.model_validate_json(bytes(message))
    except (ValidationError, RecursionError):
        expected = kind.model_fields["type"].default
        raise HandshakeError(f"{who} sent something that is no {expected} message") from None


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
