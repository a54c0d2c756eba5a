"""The parts of the tree that concern Kubernetes and the agent's pod, and those of other commands."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mirrord.config.section import Anything, Bool, Int, Later, Seconds, Section, Strings

DEFAULT_RESOURCES: Final = {
    "requests": {"cpu": "1m", "memory": "1Mi"},
    "limits": {"cpu": "1", "memory": "200Mi"},
}


Capability = Literal["NET_ADMIN", "NET_RAW", "SYS_PTRACE", "SYS_ADMIN", "SETUID", "SETGID", "DAC_OVERRIDE"]


class Image(Section):
    """``agent.image``; the defaults are the released image of this version."""

    registry: str | None = None
    tag: str | None = None

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``REGISTRY[:TAG]``."""
        if not isinstance(value, str):
            return value
        registry, colon, tag = value.rpartition(":")
        return {"registry": registry, "tag": tag} if colon and "/" not in tag else {"registry": value}


class AgentDns(Section):
    """``agent.dns``."""

    timeout: Later[Seconds | None] = None
    attempts: Later[Seconds | None] = None


class LocalObject(Section):
    """An entry of ``agent.image_pull_secrets``."""

    name: str


class Agent(Section):
    """``agent``."""

    log_level: Later[str] = "info"
    json_log: Later[Bool] = False
    namespace: str | None = None
    image: Image
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[LocalObject, ...] = ()
    ttl: Seconds = 1
    ephemeral: Bool = False
    communication_timeout: Annotated[Int, Field(gt=0, lt=86_400)] = 30
    startup_timeout: Annotated[Int, Field(gt=0)] = 60
    # Harmless: nothing is stolen yet.
    flush_connections: Bool = True
    disabled_capabilities: tuple[Capability, ...] = ()
    privileged: Bool = False
    tolerations: tuple[dict[str, Any], ...] = ({"operator": "Exists"},)
    resources: dict[str, Any] = Field(default=DEFAULT_RESOURCES)
    # Harmless: the pod goes to its node without the scheduler, and a full node says so at once.
    check_out_of_pods: Bool = True
    labels: dict[str, str] = Field(default={})
    annotations: dict[str, str] = Field(default={})
    node_selector: dict[str, str] = Field(default={})
    service_account: str | None = None
    priority_class: str | None = None
    security_context: Later[Anything] = None
    metrics: Later[str | None] = None
    disable_mesh_sidecar_injection: Bool = True
    exclude_from_mesh: Later[Bool] = False
    nftables: Later[Bool | None] = None
    clean_iptables_on_start: Later[Bool | None] = None
    external_ip_fix: Later[Bool] = True
    inject_headers: Later[Bool] = False
    override_cache_control: Later[Bool] = True
    max_body_buffer_size: Later[Seconds] = 65535
    max_body_buffer_timeout: Later[Seconds] = 1000
    http_detection_timeout: Later[Seconds] = 2
    dns: AgentDns
    jaq_time_limit: Later[Seconds] = 1


class StartupRetry(Section):
    """``startup_retry``: retries of calls to the API server at start. Harmless: a sandbox has none."""

    min_ms: Seconds = 500
    max_ms: Seconds = 5000
    max_retries: Seconds = 2


class Ci(Section):
    """``ci``. Harmless: only ``mirrord ci`` reads it."""

    output_dir: str | None = None


class InternalProxy(Section):
    """``internal_proxy``. Harmless: the supervisor, in its place, lives and ends with the session."""

    start_idle_timeout: Seconds = 60
    idle_timeout: Seconds = 5
    socket_timeout: Seconds = 31_536_000
    ping_interval: Seconds = 30
    process_logging_interval: Seconds = 60
    log_level: str = "mirrord=info,warn"
    log_destination: str | None = None
    json_log: Bool = True


class ExternalProxy(Section):
    """``external_proxy``. Harmless: only ``mirrord container`` reads it."""

    tls_enable: Bool = True
    start_idle_timeout: Seconds = 60
    idle_timeout: Seconds = 5
    log_level: str = "mirrord=info,warn"
    log_destination: str | None = None
    json_log: Bool = True
    host_ip: str | None = None
    # Older files have these; they are the defaults of their successors.
    tls_certificate: str | None = None
    tls_key: str | None = None


class Container(Section):
    """``container``. Harmless: only ``mirrord container`` reads it."""

    cli_image: Any = None
    cli_extra_args: Strings = ()
    cli_prevent_cleanup: Bool = False
    cli_image_lib_path: str | None = None
    override_host_ip: str | None = None
    host_gateway_detection: Bool = True
    cli_tls_path: str | None = None
    platform: str | None = None


class Latency(Section):
    """``experimental.latency``, in milliseconds."""

    transmit_delay: Later[Seconds] = 0
    receive_delay: Later[Seconds] = 0


class Experimental(Section):
    """``experimental``: mostly the existing mirrord's own workings, harmless here, and macOS's."""

    tcp_ping4_mock: Bool = True
    enable_exec_hooks_linux: Bool = True
    use_dev_null: Bool = True
    hide_ipv6_interfaces: Later[Bool] = False
    idle_local_http_connection_timeout: Annotated[Int, Field(ge=0)] = 3000
    non_blocking_tcp_connect: Bool = True
    dlopen_cgo: Bool = False
    go_asmcgocall: Bool = True
    guard_std_fds: Bool = True
    latency: Latency
    browser_extension_config: Later[Bool] = False
    ignore_system_proxy_config: Bool = False
    applev: Any = None
    sip_utils: Bool = False
    sip_log_destination: str | None = None
    trust_any_certificate: Bool = False
    disable_reuseaddr: Later[Bool] = False
