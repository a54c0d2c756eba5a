import pytest

from mirrord.config.kubernetes import Agent, Experimental


@pytest.mark.parametrize(
    ("image", "registry", "tag"),
    [
        ("ghcr.io/x/y:1", "ghcr.io/x/y", "1"),
        ("localhost:5000/y", "localhost:5000/y", None),
        ({"registry": "a", "tag": "b"}, "a", "b"),
    ],
)
def test_the_forms_of_an_image(image: object, registry: str, tag: str | None) -> None:
    found = Agent.model_validate({"image": image}).image
    assert (found.registry, found.tag) == (registry, tag)


def test_capabilities_are_checked() -> None:
    with pytest.raises(ValueError, match="disabled_capabilities"):
        Agent.model_validate({"disabled_capabilities": ["SYS_BOOT"]})


def test_the_pod_that_the_agent_gets() -> None:
    agent = Agent.model_validate({"image_pull_secrets": [{"name": "a"}], "resources": {"limits": {}}})
    assert [secret.name for secret in agent.image_pull_secrets] == ["a"]
    assert agent.resources == {"limits": {}}
    assert agent.tolerations == ({"operator": "Exists"},)


def test_experimental_keys_are_known() -> None:
    assert not Experimental.model_validate({"tcp_ping4_mock": False, "latency": {}}).tcp_ping4_mock
