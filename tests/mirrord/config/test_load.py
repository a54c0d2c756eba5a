import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mirrord.config.load import random_key, resolve, resolve_for_program, validate
from mirrord.config.model import Settings
from mirrord.config.options import ExecOptions
from mirrord.errors import UsageError


def settings(environ: dict[str, str] | None = None, *, file: Any = None, **flags: Any) -> Settings:
    """Resolve flags, variables, and a tree or text as the configuration on standard input."""
    if file is not None:
        text = file if isinstance(file, str) else json.dumps(file)
        flags |= {"config_file": "-", "stdin_config": text}
    return resolve(ExecOptions(program=("x",), **{"target": "sandbox"} | flags), environ or {})


def test_the_defaults() -> None:
    found = settings()
    assert found.target == "sandbox"
    assert found.feature.fs.mode == "read"
    assert found.feature.network.incoming.mode == "mirror"
    assert found.engine is None
    assert found.config_file is None
    assert not found.warnings


def test_precedence_is_flag_variable_file_default() -> None:
    file = {"target": "sandbox/file", "key": "file", "feature": {"network": {"outgoing": {"udp": False}}}}
    assert settings(file=file, target=None).target == "sandbox/file"
    environ = {"MIRRORD_IMPERSONATED_TARGET": "sandbox/variable", "MIRRORD_KEY": "variable"}
    from_variable = settings(environ, file=file, target=None)
    assert (from_variable.target, from_variable.key) == ("sandbox/variable", "variable")
    from_flag = settings(environ, file=file, target="sandbox/flag", key="flag")
    assert (from_flag.target, from_flag.key) == ("sandbox/flag", "flag")
    assert settings({"MIRRORD_ENGINE": "ptrace"}).engine == "ptrace"
    assert settings({"MIRRORD_ENGINE": "ptrace"}, engine="notify").engine == "notify"
    assert from_flag.feature.network.outgoing.tcp
    assert not from_flag.feature.network.outgoing.udp


def test_flags_go_over_short_forms_of_the_file() -> None:
    found = settings(
        {"MIRRORD_UDP_OUTGOING": "true"}, file={"feature": {"network": False}}, no_remote_dns=True
    )
    assert not found.feature.network.outgoing.tcp
    assert found.feature.network.outgoing.udp
    assert not found.feature.network.dns.enabled


def test_a_flag_saves_what_the_file_asks_for_and_is_not_there_yet() -> None:
    file = {"target": {"path": "pod/web", "namespace": "prod"}, "feature": {"fs": "write"}}
    assert settings(file=file, fs_mode="read").target == "sandbox"
    with pytest.raises(
        UsageError, match=re.escape("`feature.fs.mode` in standard input is not supported yet")
    ):
        settings(file=file)


def test_a_flag_that_is_not_supported_yet_is_named() -> None:
    with pytest.raises(UsageError, match="`--fs-mode` is not supported yet"):
        settings(fs_mode="write")
    with pytest.raises(UsageError, match="`MIRRORD_OPERATOR_ENABLE` is not supported yet"):
        settings({"MIRRORD_OPERATOR_ENABLE": "true"})


@pytest.mark.parametrize(
    ("variable", "flag", "mode"),
    [
        ("true", False, "steal"),
        ("steal", False, "steal"),
        ("off", False, "off"),
        ("false", False, "mirror"),
        ("0", True, "steal"),
    ],
)
def test_ways_to_ask_for_stealing(variable: str, flag: bool, mode: str) -> None:
    found = settings({"MIRRORD_AGENT_TCP_STEAL_TRAFFIC": variable}, steal=flag)
    assert found.feature.network.incoming.mode == mode


def test_variables_of_stealing() -> None:
    found = settings(
        {
            "MIRRORD_HTTP_PATH_FILTER": "^/a",
            "MIRRORD_HTTP_FILTER_PORTS": "80;81",
            "MIRRORD_AGENT_STEALER_FLUSH_CONNECTIONS": "false",
            "MIRRORD_AGENT_HTTP_DETECTION_TIMEOUT": "7",
        },
        steal=True,
    )
    assert found.feature.network.incoming.http_filter.path_filter == "^/a"
    assert found.feature.network.incoming.http_filter.ports == (80, 81)
    assert not found.configuration.agent.flush_connections
    assert found.configuration.agent.http_detection_timeout == 7


def test_without_a_target_the_sandbox_is_named() -> None:
    with pytest.raises(UsageError, match=r"no target was given; use .* `-t sandbox`"):
        settings(target=None)


def test_flags_and_variables_of_the_cluster() -> None:
    found = settings(
        {"MIRRORD_KUBE_CONTEXT": "other", "MIRRORD_AGENT_IMAGE_TAG": "9", "MIRRORD_AGENT_TTL": "7"},
        target="pod/web",
        target_namespace="prod",
        context="mine",
        agent_image="registry:5000/agent",
        agent_startup_timeout=9,
        accept_invalid_certificates=True,
    ).configuration
    assert found.target.namespace == "prod"
    assert found.kube_context == "mine"
    assert (found.agent.image.registry, found.agent.image.tag) == ("registry:5000/agent", None)
    assert (found.agent.ttl, found.agent.startup_timeout) == (7, 9)
    assert found.accept_invalid_certificates is True


def test_without_a_target_files_are_local() -> None:
    assert settings(target="targetless").feature.fs.mode == "localwithoverrides"
    assert settings(target="targetless", fs_mode="local").feature.fs.mode == "local"


def test_without_a_target_nothing_is_mirrored_or_stolen() -> None:
    assert settings(target="targetless").feature.network.incoming.mode == "off"
    options = ExecOptions(program=("x",), target="targetless", steal=True)
    with pytest.raises(UsageError, match="no connections to steal, as there is no target"):
        resolve_for_program(options, {})
    for allowed in (replace(options, steal=False), replace(options, target="pod/web")):
        assert resolve_for_program(allowed, {}).target == allowed.target


def test_an_ephemeral_container_needs_a_target() -> None:
    assert settings(target="pod/web", ephemeral_container=True).configuration.agent.ephemeral
    with pytest.raises(UsageError, match="an ephemeral container needs a pod to be in"):
        settings(target="targetless", ephemeral_container=True)


def test_a_file_is_found_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('target = "sandbox/toml"')
    for options, environ in (
        (ExecOptions(program=("x",), config_file="m.toml"), {}),
        (ExecOptions(program=("x",)), {"MIRRORD_CONFIG_FILE": "m.toml"}),
    ):
        found = resolve(options, environ, cwd=tmp_path)
        assert (found.target, found.config_file) == ("sandbox/toml", "m.toml")


def test_the_file_is_a_template_that_knows_the_key() -> None:
    file = '{"key": "abc", "target": "sandbox/{{ key }}"}'
    assert settings(file=file, target=None).target == "sandbox/abc"
    assert settings(file=file, target=None, key="def").target == "sandbox/def"
    assert settings(file=file, target=None, key="def").key == "def"
    drawn = settings(file='{"target": "sandbox/{{ key }}"}', target=None)
    assert drawn.target == f"sandbox/{drawn.key}"
    computed = settings({"WHO": "ada"}, file="""{"key": "{{ get_env(name='WHO') }}"}""")
    assert computed.key == "ada"


def test_a_random_key_has_five_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{5}", random_key())


def test_programs_may_be_guarded_against_mirrord() -> None:
    with pytest.raises(UsageError, match="MIRRORD_DONT_LOAD"):
        settings({"MIRRORD_DONT_LOAD": ""})


def test_a_filter_without_effect_is_a_warning() -> None:
    found = settings(file={"feature": {"network": {"dns": {"filter": {"local": ["10.0.0.1", "db"]}}}}})
    assert len(found.warnings) == 1
    assert "`10.0.0.1`" in found.warnings[0]


def test_a_mapping_without_effect_is_a_warning() -> None:
    found = settings(file={"feature": {"network": {"incoming": {"port_mapping": [[80, 80], [81, 82]]}}}})
    assert [text.split("port_mapping` ")[1] for text in found.warnings] == [
        "maps 80 to itself, which has no effect"
    ]


def test_the_processes_to_leave_alone() -> None:
    found = settings({"MIRRORD_SKIP_EXTRA_BUILD_TOOLS": "make"}, skip_processes="a;b")
    assert {"a", "b", "make", "gcc", "cargo-watch"} <= found.skipped_processes
    assert settings(file={"skip_build_tools": False}, skip_processes="a").skipped_processes == {"a"}


def test_a_tree_may_be_checked_alone() -> None:
    assert validate({}).feature.env.include is None
    with pytest.raises(UsageError, match=r"in m\.json"):
        validate({"x": 1}, where="m.json")
