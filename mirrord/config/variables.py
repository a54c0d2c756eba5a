"""The environment variables and flags that set configuration keys, as values laid over the file's.

Names are the existing mirrord's. Variables of things that are not built yet are read too, so that they are
refused like their keys and not passed over in silence.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mirrord.config.options import ENGINES, ExecOptions
from mirrord.errors import UsageError


@dataclass(frozen=True, slots=True)
class Overlay:
    """One value that takes precedence over the file's."""

    path: str
    value: Any
    source: str
    """The flag or variable, for messages."""


def from_environment(environ: Mapping[str, str]) -> Iterator[Overlay]:
    """Return what variables set; raise UsageError naming one that cannot be read."""
    for name, (path, read) in _VARIABLES.items():
        if name in environ:
            yield Overlay(path, read(name, environ[name]), f"`{name}`")
    yield from _file_mode(environ)


def from_options(options: ExecOptions) -> Iterator[Overlay]:
    """Return what flags set; those that take effect elsewhere are not here."""
    values: tuple[tuple[str, Any, str], ...] = (
        ("target.path", options.target, "--target"),
        ("target.namespace", options.target_namespace, "--target-namespace"),
        ("kube_context", options.context, "--context"),
        ("agent.namespace", options.agent_namespace, "--agent-namespace"),
        ("agent.image", options.agent_image, "--agent-image"),
        ("agent.ttl", options.agent_ttl, "--agent-ttl"),
        ("agent.startup_timeout", options.agent_startup_timeout, "--agent-startup-timeout"),
        ("agent.ephemeral", options.ephemeral_container or None, "--ephemeral-container"),
        ("accept_invalid_certificates", options.accept_invalid_certificates or None, "-c"),
        ("key", options.key, "--key"),
        ("feature.env.include", options.env_include, "--override-env-vars-include"),
        ("feature.env.exclude", options.env_exclude, "--override-env-vars-exclude"),
        ("feature.env.env_file", options.env_file, "--env-file"),
        ("feature.fs.mode", options.fs_mode and options.fs_mode.replace("-", ""), "--fs-mode"),
        ("skip_processes", options.skip_processes and _list("", options.skip_processes), "--skip-processes"),
    )
    yield from (Overlay(path, value, f"`{flag}`") for path, value, flag in values if value is not None)
    switches = (
        ("feature.network.outgoing.tcp", options.no_tcp_outgoing or options.no_outgoing, "--no-tcp-outgoing"),
        ("feature.network.outgoing.udp", options.no_udp_outgoing or options.no_outgoing, "--no-udp-outgoing"),
        ("feature.network.dns.enabled", options.no_remote_dns, "--no-remote-dns"),
        ("telemetry", options.no_telemetry, "--no-telemetry"),
    )
    yield from (Overlay(path, False, f"`{flag}`") for path, given, flag in switches if given)
    if options.steal:
        yield Overlay("feature.network.incoming.mode", "steal", "`--steal`")


def engine(environ: Mapping[str, str]) -> str | None:
    """Return the engine that ``MIRRORD_ENGINE`` names, None if it names none; raise UsageError."""
    name = environ.get("MIRRORD_ENGINE") or None
    if name is not None and name not in ENGINES:
        raise UsageError(
            f"`MIRRORD_ENGINE` names no engine: {name}", remedy=f"set it to {' or '.join(ENGINES)}"
        )
    return name


def apply(overlays: Mapping[str, Overlay], tree: dict[str, Any]) -> None:
    """Put the values into a tree in which every section is in its long form."""
    for overlay in overlays.values():
        *parents, name = overlay.path.split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[name] = overlay.value


def read_bool(name: str, value: str) -> bool:
    """Return the truth value of a variable; raise UsageError."""
    try:
        return _TRUTH[value.strip().lower()]
    except KeyError:
        raise UsageError(f"`{name}` is neither true nor false", remedy="set it to true or false") from None


def _text(_: str, value: str) -> str:
    return value


def _list(_: str, value: str) -> list[str]:
    return [part.strip() for part in value.split(";") if part.strip()]


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"`{name}` is not a whole number", remedy="correct it") from None


def _ports(name: str, value: str) -> list[int]:
    return [_number(name, part) for part in value.replace(",", ";").split(";") if part.strip()]


def _steal(name: str, value: str) -> str:
    """Read a truth value, or a mode."""
    mode = value.strip().lower()
    return mode if mode in _MODES else "steal" if read_bool(name, value) else "mirror"


def _file_mode(environ: Mapping[str, str]) -> Iterator[Overlay]:
    """Read the two switches that are older than ``MIRRORD_FILE_MODE``, which wins over them."""
    if "MIRRORD_FILE_MODE" in environ:
        yield Overlay("feature.fs.mode", environ["MIRRORD_FILE_MODE"].replace("-", ""), "`MIRRORD_FILE_MODE`")
        return
    given = {name: read_bool(name, environ[name]) for name in _FILE_SWITCHES if name in environ}
    if given:
        mode = next((mode for name, mode in _FILE_SWITCHES.items() if given.get(name)), "local")
        yield Overlay("feature.fs.mode", mode, f"`{next(iter(given))}`")


_MODES: Final = ("mirror", "steal", "off")
_TRUTH: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_FILE_SWITCHES: Final = {"MIRRORD_FILE_OPS": "write", "MIRRORD_FILE_RO_OPS": "read"}

_HTTP: Final = "feature.network.incoming.http_filter"
_VARIABLES: Final[dict[str, tuple[str, Callable[[str, str], Any]]]] = {
    "MIRRORD_IMPERSONATED_TARGET": ("target.path", _text),
    "MIRRORD_TARGET_NAMESPACE": ("target.namespace", _text),
    "MIRRORD_KEY": ("key", _text),
    "MIRRORD_OVERRIDE_ENV_VARS_INCLUDE": ("feature.env.include", _text),
    "MIRRORD_OVERRIDE_ENV_VARS_EXCLUDE": ("feature.env.exclude", _text),
    "MIRRORD_OVERRIDE_ENV_VARS_FILE": ("feature.env.env_file", _text),
    "MIRRORD_ENV_LOAD_FROM_PROCESS": ("feature.env.load_from_process", read_bool),
    "MIRRORD_FILE_READ_WRITE_PATTERN": ("feature.fs.read_write", _list),
    "MIRRORD_FILE_READ_ONLY_PATTERN": ("feature.fs.read_only", _list),
    "MIRRORD_FILE_LOCAL_PATTERN": ("feature.fs.local", _list),
    "MIRRORD_REMOTE_DNS": ("feature.network.dns.enabled", read_bool),
    "MIRRORD_TCP_OUTGOING": ("feature.network.outgoing.tcp", read_bool),
    "MIRRORD_UDP_OUTGOING": ("feature.network.outgoing.udp", read_bool),
    "MIRRORD_OUTGOING_REMOTE_UNIX_STREAMS": ("feature.network.outgoing.unix_streams", _list),
    "MIRRORD_ENABLE_IPV6": ("feature.network.ipv6", read_bool),
    "MIRRORD_SKIP_PROCESSES": ("skip_processes", _list),
    "MIRRORD_SKIP_BUILD_TOOLS": ("skip_build_tools", read_bool),
    "MIRRORD_SKIP_EXTRA_BUILD_TOOLS": ("skip_extra_build_tools", _list),
    "MIRRORD_TELEMETRY": ("telemetry", read_bool),
    "MIRRORD_API": ("api", read_bool),
    "MIRRORD_PROXY": ("use_proxy", read_bool),
    "MIRRORD_OPERATOR_ENABLE": ("operator", read_bool),
    "MIRRORD_MULTI_CLUSTER": ("multi_cluster", read_bool),
    "MIRRORD_AGENT_TCP_STEAL_TRAFFIC": ("feature.network.incoming.mode", _steal),
    "MIRRORD_HTTP_HEADER_FILTER": (f"{_HTTP}.header_filter", _text),
    "MIRRORD_HTTP_PATH_FILTER": (f"{_HTTP}.path_filter", _text),
    "MIRRORD_HTTP_METHOD_FILTER": (f"{_HTTP}.method_filter", _text),
    "MIRRORD_HTTP_HEADER_FILTER_JQ": (f"{_HTTP}.header_filter_jq", _text),
    "MIRRORD_HTTP_FILTER_PORTS": (f"{_HTTP}.ports", _ports),
    "MIRRORD_AGENT_STEALER_FLUSH_CONNECTIONS": ("agent.flush_connections", read_bool),
    "MIRRORD_AGENT_HTTP_DETECTION_TIMEOUT": ("agent.http_detection_timeout", _number),
    "MIRRORD_EPHEMERAL_CONTAINER": ("agent.ephemeral", read_bool),
    "MIRRORD_KUBE_CONTEXT": ("kube_context", _text),
    "MIRRORD_KUBECONFIG": ("kubeconfig", _text),
    "MIRRORD_ACCEPT_INVALID_CERTIFICATES": ("accept_invalid_certificates", read_bool),
    "MIRRORD_AGENT_NAMESPACE": ("agent.namespace", _text),
    "MIRRORD_AGENT_IMAGE_REGISTRY": ("agent.image.registry", _text),
    "MIRRORD_AGENT_IMAGE_TAG": ("agent.image.tag", _text),
    # after its parts, which it replaces
    "MIRRORD_AGENT_IMAGE": ("agent.image", _text),
    "MIRRORD_AGENT_IMAGE_PULL_POLICY": ("agent.image_pull_policy", _text),
    "MIRRORD_AGENT_TTL": ("agent.ttl", _number),
    "MIRRORD_AGENT_STARTUP_TIMEOUT": ("agent.startup_timeout", _number),
    "MIRRORD_AGENT_COMMUNICATION_TIMEOUT": ("agent.communication_timeout", _number),
}
