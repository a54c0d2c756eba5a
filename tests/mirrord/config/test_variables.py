import pytest

from mirrord.config.explain import _all_keys
from mirrord.config.model import Configuration
from mirrord.config.options import ExecOptions
from mirrord.config.variables import _VARIABLES, apply, engine, from_environment, from_options, read_bool
from mirrord.errors import UsageError


def test_every_variable_sets_a_key_that_exists() -> None:
    assert {path for path, _ in _VARIABLES.values()} <= set(_all_keys(Configuration, ()))


def test_every_flag_sets_a_key_that_exists() -> None:
    options = ExecOptions(
        program=("x",), target="t", key="k", env_include="a", env_exclude="b", env_file="f", fs_mode="m",
        skip_processes="p", no_outgoing=True, no_remote_dns=True, no_telemetry=True,
    )  # fmt: skip
    overlays = list(from_options(options))
    assert len(overlays) == 11
    assert {overlay.path for overlay in overlays} <= set(_all_keys(Configuration, ()))


def test_flags_that_were_not_given_set_nothing() -> None:
    assert list(from_options(ExecOptions(program=("x",)))) == []


@pytest.mark.parametrize(("text", "value"), [("true", True), ("FALSE", False), ("1", True), ("0", False)])
def test_truth(text: str, value: bool) -> None:
    assert read_bool("X", text) is value


def test_lists_and_numbers() -> None:
    environ = {"MIRRORD_FILE_LOCAL_PATTERN": "a; b;", "MIRRORD_HTTP_FILTER_PORTS": "80;8080"}
    assert {overlay.path.rpartition(".")[2]: overlay.value for overlay in from_environment(environ)} == {
        "local": ["a", "b"],
        "ports": [80, 8080],
    }


@pytest.mark.parametrize("name", ["MIRRORD_REMOTE_DNS", "MIRRORD_HTTP_FILTER_PORTS", "MIRRORD_FILE_OPS"])
def test_what_cannot_be_read_names_the_variable(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        list(from_environment({name: "perhaps"}))


@pytest.mark.parametrize(
    ("environ", "mode"),
    [
        ({"MIRRORD_FILE_MODE": "local-with-overrides"}, "localwithoverrides"),
        ({"MIRRORD_FILE_OPS": "true"}, "write"),
        ({"MIRRORD_FILE_RO_OPS": "true", "MIRRORD_FILE_OPS": "false"}, "read"),
        ({"MIRRORD_FILE_OPS": "false"}, "local"),
        ({"MIRRORD_FILE_MODE": "local", "MIRRORD_FILE_OPS": "true"}, "local"),
    ],
)
def test_the_file_mode(environ: dict[str, str], mode: str) -> None:
    assert [overlay.value for overlay in from_environment(environ)] == [mode]


def test_values_are_laid_over_a_tree() -> None:
    overlays = {overlay.path: overlay for overlay in from_environment({"MIRRORD_TCP_OUTGOING": "false"})}
    tree = {"feature": {"network": {"outgoing": {"tcp": True, "udp": True}}}}
    apply(overlays, tree)
    assert tree == {"feature": {"network": {"outgoing": {"tcp": False, "udp": True}}}}


@pytest.mark.parametrize("environ", [{}, {"MIRRORD_ENGINE": ""}])
def test_no_engine_may_be_named(environ: dict[str, str]) -> None:
    assert engine(environ) is None


def test_a_variable_names_the_engine() -> None:
    assert engine({"MIRRORD_ENGINE": "ptrace"}) == "ptrace"
    with pytest.raises(UsageError, match="names no engine: gdb; set it to notify or ptrace"):
        engine({"MIRRORD_ENGINE": "gdb"})
