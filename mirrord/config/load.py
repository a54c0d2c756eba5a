"""Takes flags, environment variables, the configuration file and the defaults together.

This is also their order of precedence.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mirrord.config import files, template, variables
from mirrord.config.explain import Sources, explain, refuse_pending
from mirrord.config.features import Network
from mirrord.config.here import working_directory
from mirrord.config.model import Configuration, Settings
from mirrord.config.options import ExecOptions
from mirrord.config.selectors import parse_selector
from mirrord.config.target import TARGETLESS, check_target
from mirrord.errors import UsageError


def resolve(
    options: ExecOptions,
    environ: Mapping[str, str],
    *,
    cwd: Path | None = None,
    default_target: str | None = None,
) -> Settings:
    """Return the settings of a session; raise UsageError for the first thing that is wrong.

    ``environ`` is the environment that mirrord itself was started with, ``cwd`` the directory that relative
    paths start from. ``default_target`` is for where no target needs to be named.
    """
    cwd = cwd or Path(os.fsdecode(working_directory()))
    if "MIRRORD_DONT_LOAD" in environ:
        raise UsageError(
            "MIRRORD_DONT_LOAD forbids to run this under mirrord", remedy="unset it where that is safe"
        )
    overlays = {
        overlay.path: overlay
        for overlay in (*variables.from_environment(environ), *variables.from_options(options))
    }
    key = overlays["key"].value if "key" in overlays else None
    path = options.config_file or environ.get("MIRRORD_CONFIG_FILE") or None
    tree = _from_file(options, path, key, environ, cwd) if path is not None else {}
    variables.apply(overlays, tree)
    sources = {overlay.path: overlay.source for overlay in overlays.values()}
    configuration = validate(tree, sources=sources)
    refuse_pending(configuration, files.label(path) if path else "", sources)
    target = check_target(configuration.target.path or default_target)
    if target == TARGETLESS:
        if configuration.agent.ephemeral:
            raise UsageError(
                "an ephemeral container needs a pod to be in, and there is no target",
                remedy="name a target, or leave out `agent.ephemeral`",
            )
        configuration = _without_incoming(_with_own_files(configuration))
    return Settings(
        target=target,
        configuration=configuration,
        key=configuration.key or random_key(),
        engine=options.engine or variables.engine(environ),
        quiet=options.quiet,
        verbosity=options.verbosity,
        config_file=path,
        warnings=tuple(_warnings(configuration)),
    )


def resolve_for_program(
    options: ExecOptions, environ: Mapping[str, str], *, default_target: str | None = None
) -> Settings:
    """Return the settings of a session with a program, as :func:`resolve` does; raise UsageError."""
    settings = resolve(options, environ, default_target=default_target)
    if settings.target == TARGETLESS and settings.feature.network.incoming.mode == "steal":
        raise UsageError(
            "there are no connections to steal, as there is no target",
            remedy="name a target, or leave out `--steal` or what else asks for it",
        )
    return settings


def validate(tree: dict[str, Any], *, where: str = "", sources: Sources | None = None) -> Configuration:
    """Return the checked tree of a configuration file; raise UsageError.

    ``where`` names the file for messages, ``sources`` the flags and variables that set keys.
    """
    try:
        return Configuration.model_validate(tree)
    except ValidationError as error:
        raise explain(error, where, sources or {}) from None


def random_key() -> str:
    """Return a session key for people to tell sessions apart by; it guards nothing."""
    return secrets.token_hex(3)[:5]


def _from_file(
    options: ExecOptions, path: str, key: str | None, environ: Mapping[str, str], cwd: Path
) -> dict[str, Any]:
    """Return the file's checked tree in its long form, in which overlays find their places."""
    text = (options.stdin_config or "") if path == files.STDIN else files.read(path, cwd=cwd)
    if template.is_template(text):
        key = key or files.peek_key(text, path=path) or random_key()
        text = template.render(text, where=files.label(path), key=key, environ=environ, cwd=cwd)
    tree = validate(files.parse(text, path=path), where=files.label(path)).model_dump(exclude_unset=True)
    return ({"key": key} if key else {}) | tree


def _with_own_files(configuration: Configuration) -> Configuration:
    """Read local files where no rule says otherwise: without a target the remote ones are the agent's own."""
    feature = configuration.feature
    if feature.fs.mode == "local":
        return configuration
    fs = feature.fs.model_copy(update={"mode": "localwithoverrides"})
    return configuration.model_copy(update={"feature": feature.model_copy(update={"fs": fs})})


def _without_incoming(configuration: Configuration) -> Configuration:
    """Mirror nothing: nobody but us knows the agent's own pod."""
    feature = configuration.feature
    if feature.network.incoming.mode != "mirror":
        return configuration
    incoming = feature.network.incoming.model_copy(update={"mode": "off"})
    network = feature.network.model_copy(update={"incoming": incoming})
    return configuration.model_copy(update={"feature": feature.model_copy(update={"network": network})})


def _warnings(configuration: Configuration) -> list[str]:
    network: Network = configuration.feature.network
    entries = [*(network.dns.filter.remote or ()), *(network.dns.filter.local or ())]
    return [
        *(
            f"`feature.network.dns.filter` has `{entry}`, which is not a host name and has no effect"
            for entry in entries
            if parse_selector(entry).name is None
        ),
        *(
            f"`feature.network.incoming.port_mapping` maps {local} to itself, which has no effect"
            for local, remote in network.incoming.port_mapping
            if local == remote
        ),
    ]
