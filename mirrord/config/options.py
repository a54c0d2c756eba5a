"""What the command line of ``mirrord exec`` said, before files and variables are looked at.

It is made in the front process, before anything heavy is imported, and read by
:func:`mirrord.config.load.resolve` in the supervisor.
"""

from dataclasses import dataclass, field
from typing import Final

DEFAULT_CONFIG_FILE: Final = "./.mirrord/mirrord.json"
"""What ``-f`` without a value stands for."""

ENGINES: Final = ("notify", "ptrace")
"""How system calls are intercepted; without a wish it is the first one that works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOptions:
    """The flags of one ``mirrord exec``; None and False mean that the flag was not given.

    Texts come from the command line and may hold surrogate escapes (:pep:`383`).
    """

    program: tuple[str, ...]
    """The program and its arguments; empty for a dry run, and for a process that runs already."""
    target: str | None = None
    target_namespace: str | None = None
    context: str | None = None
    accept_invalid_certificates: bool = False
    ephemeral_container: bool = False
    agent_namespace: str | None = None
    agent_image: str | None = None
    agent_ttl: int | None = None
    agent_startup_timeout: int | None = None
    dry_run: str | None = None
    output: str | None = None
    config_file: str | None = None
    stdin_config: str | None = field(default=None, repr=False)
    """What standard input held, for ``-f -``; the front reads it because the supervisor has no terminal."""
    quiet: bool = False
    verbosity: int = 0
    fs_mode: str | None = None
    steal: bool = False
    no_outgoing: bool = False
    no_tcp_outgoing: bool = False
    no_udp_outgoing: bool = False
    no_remote_dns: bool = False
    env_include: str | None = None
    env_exclude: str | None = None
    env_file: str | None = None
    engine: str | None = None
    key: str | None = None
    skip_processes: str | None = None
    no_telemetry: bool = False
    without_target: bool = False
    """Nothing is remote: calls are only looked at."""
    results: bool = False
    """Those of calls that the kernel runs are wanted, too; by the engine ptrace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachOptions:
    """What the command line of ``mirrord attach`` said."""

    pid: int
    descendants: bool
    """Whether the children that the process has already come under the session too."""
    session: ExecOptions
