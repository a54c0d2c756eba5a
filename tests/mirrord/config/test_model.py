import dataclasses

import pytest

from mirrord.config.environment import EnvironmentRules
from mirrord.config.model import BUILD_TOOLS, Configuration, Settings
from mirrord.config.outgoing import DnsRules, OutgoingRules
from mirrord.config.paths import PathRules, Side


def settings(**keys: object) -> Settings:
    return Settings(target="sandbox", configuration=Configuration.model_validate(keys), key="abc")


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().target = "x"  # type: ignore[misc]


def test_the_decision_objects_are_made_from_settings() -> None:
    found = settings(feature={"network": {"outgoing": {"udp": False}}, "magic": {"aws": False}})
    paths = PathRules.from_settings(found, cwd=b"/work", home=b"/root", tmpdir=b"/tmp", executable=b"/bin/x")
    assert paths.decide(b"/app/config.yaml", write=False).side is Side.REMOTE
    assert not OutgoingRules.from_settings(found, search=["x"]).udp
    assert DnsRules.from_settings(found).decide("web")
    assert EnvironmentRules.from_settings(found, cwd=b"/").apply({b"A": b"1"}, {}) == {b"A": b"1"}


def test_all_root_keys_of_the_existing_mirrord_are_known() -> None:
    known = """
    target agent feature accept_invalid_certificates kubeconfig kube_context use_proxy skip_processes
    skip_build_tools skip_extra_build_tools operator multi_cluster profile api telemetry key startup_retry ci
    traceparent baggage sip_binaries skip_sip internal_proxy external_proxy container experimental
    """
    assert set(Configuration.model_fields) == set(known.split())


def test_build_tools() -> None:
    assert len(BUILD_TOOLS) == 23
    assert settings().skipped_processes == BUILD_TOOLS
