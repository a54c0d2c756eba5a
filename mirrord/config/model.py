"""The whole configuration, and the settings of a session that come out of it."""

from dataclasses import dataclass
from typing import Final

from mirrord.config.features import Feature
from mirrord.config.kubernetes import (
    Agent,
    Ci,
    Container,
    Experimental,
    ExternalProxy,
    InternalProxy,
    StartupRetry,
)
from mirrord.config.section import Bool, Later, Section, Strings
from mirrord.config.target import Target

# fmt: off
BUILD_TOOLS: Final = frozenset((
    "as", "cc", "ld", "go", "air", "asm", "cc1", "cgo", "dlv", "gcc", "git", "link", "math", "cargo",
    "hpack", "rustc", "compile", "collect2", "cargo-watch", "debugserver", "jspawnhelper", "bazel-real",
    "clang",
))
# fmt: on
"""The names of processes that ``skip_build_tools`` leaves alone."""


class Configuration(Section):
    """A configuration file's root; every key that the existing mirrord 3.250 knows."""

    target: Target
    agent: Agent
    feature: Feature
    accept_invalid_certificates: Bool | None = None
    kubeconfig: str | None = None
    kube_context: str | None = None
    use_proxy: Bool = True
    skip_processes: Strings = ()
    skip_build_tools: Bool = True
    skip_extra_build_tools: Strings = ()
    operator: Later[Bool] = False
    multi_cluster: Later[Bool] = False
    profile: Later[str | None] = None
    # Harmless: nothing is reported to anybody, and only its user can read what a session tells on its socket.
    api: Bool = True
    telemetry: Bool = True
    key: str | None = None
    startup_retry: StartupRetry
    ci: Ci
    # Harmless: only an operator, which there is none of, would pass these on.
    traceparent: str | None = None
    baggage: str | None = None
    sip_binaries: Strings = ()
    skip_sip: Strings = ()
    internal_proxy: InternalProxy
    external_proxy: ExternalProxy
    container: Container
    experimental: Experimental


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one session does: flags, variables, file and defaults taken together."""

    target: str
    """``sandbox``, ``sandbox/NAME``, or what :func:`mirrord.config.target.parse_cluster_target` takes."""
    configuration: Configuration
    key: str
    engine: str | None = None
    """None for the best one that works here."""
    quiet: bool = False
    verbosity: int = 0
    config_file: str | None = None
    """The file that was read, as it was named; ``-`` for standard input."""
    warnings: tuple[str, ...] = ()

    @property
    def feature(self) -> Feature:
        """The ``feature`` section, which most of a session is about."""
        return self.configuration.feature

    @property
    def skipped_processes(self) -> frozenset[str]:
        """The names of processes whose calls are left to the kernel."""
        configuration = self.configuration
        tools = BUILD_TOOLS if configuration.skip_build_tools else frozenset[str]()
        return tools.union(configuration.skip_extra_build_tools, configuration.skip_processes)
