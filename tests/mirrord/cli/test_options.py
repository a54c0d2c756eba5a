import dataclasses

import pytest

from mirrord.cli.flags import FLAGS
from mirrord.cli.options import parse
from mirrord.config.options import DEFAULT_CONFIG_FILE, ExecOptions
from mirrord.errors import UsageError


def options(line: str) -> ExecOptions:
    return parse(line.split(), read_stdin=lambda: "{}")


def test_only_what_was_given_is_set() -> None:
    assert options("ls -l") == ExecOptions(program=("ls", "-l"))


def test_every_flag() -> None:
    found = options(
        "-t sandbox -f m.json -q -vv --fs-mode local-with-overrides --no-outgoing --no-tcp-outgoing "
        "--no-udp-outgoing --no-remote-dns --steal -s A;B --env-file e --engine notify -k key "
        "--skip-processes p --no-telemetry --disable-version-check -n prod --context mine -a agents "
        "-i image:1 --agent-ttl 5 --agent-startup-timeout 9 -c -e --dry-run=client -o yaml ls"
    )
    assert found == ExecOptions(
        program=("ls",),
        target="sandbox",
        config_file="m.json",
        quiet=True,
        verbosity=2,
        fs_mode="local-with-overrides",
        steal=True,
        no_outgoing=True,
        no_tcp_outgoing=True,
        no_udp_outgoing=True,
        no_remote_dns=True,
        env_include="A;B",
        env_file="e",
        key="key",
        skip_processes="p",
        engine="notify",
        no_telemetry=True,
        target_namespace="prod",
        context="mine",
        agent_namespace="agents",
        agent_image="image:1",
        agent_ttl=5,
        agent_startup_timeout=9,
        accept_invalid_certificates=True,
        ephemeral_container=True,
        dry_run="client",
        output="yaml",
    )


def test_every_flag_has_a_field() -> None:
    fields = {field.name for field in dataclasses.fields(ExecOptions)} | {"disable_version_check", "help"}
    assert {flag.destination for flag in FLAGS if flag.supported} <= fields


def test_a_dry_run_needs_no_program() -> None:
    assert options("-t pod/web --dry-run") == ExecOptions(program=(), target="pod/web", dry_run="client")


def test_a_configuration_file_without_a_name() -> None:
    assert options("-f -q ls").config_file == DEFAULT_CONFIG_FILE


def test_standard_input_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options("-f - ls").stdin_config == "{}"
    assert options("ls").stdin_config is None
    monkeypatch.setenv("MIRRORD_CONFIG_FILE", "-")
    assert options("ls").stdin_config == "{}"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "no program was given"),
        ("-t sandbox", "no program was given"),
        ("-t sandbox --", "no program was given"),
        ("-t -q ls", "expected one argument"),
        ("--fs-mode rw ls", "invalid choice: 'rw'"),
        ("-s a -x b ls", "exclude each other"),
        ("--engine gdb ls", "argument --engine: invalid choice"),
        ("--quiet=3 ls", "ignored explicit argument"),
    ],
)
def test_usage_errors(line: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        options(line)


def test_arguments_that_are_not_utf8_are_kept() -> None:
    assert parse(["ls", "\udcff"]).program == ("ls", "\udcff")
