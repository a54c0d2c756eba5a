import dataclasses

import pytest

from mirrord.link.endpoint import AgentEndpoint


def test_an_endpoint_does_not_change() -> None:
    endpoint = AgentEndpoint("/run/agent", bytes(32))
    with pytest.raises(dataclasses.FrozenInstanceError):
        endpoint.path = "/run/other"  # type: ignore[misc]
    assert endpoint == AgentEndpoint(path="/run/agent", public_key=bytes(32))
