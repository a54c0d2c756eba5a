"""Reads kubeconfig files as kubectl does: which cluster, which user, which namespace.

Of several files the first that names a thing wins, and what later ones say of it is not looked at; files that
are not there are left out; a path is relative to the file that has it
(https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mirrord.errors import UsageError

_CHECK: Final = "check it with `kubectl get pods`"


def _to_kebab(name: str) -> str:
    return name.replace("_", "-")


class Part(BaseModel):
    """A part of a kubeconfig; what is null is as if it were absent, and what we do not read is ignored."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=_to_kebab,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return (
            {key: item for key, item in value.items() if item is not None}
            if isinstance(value, dict)
            else value
        )


class Cluster(Part):
    """An API server."""

    server: str
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    extensions: tuple[Mapping[str, Any], ...] = ()


class Variable(Part):
    """An environment variable of a plugin."""

    name: str
    value: str = ""


class Plugin(Part):
    """A command that says who we are; see :mod:`mirrord.targets.kubernetes.credentials`."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()
    api_version: str = Field(alias="apiVersion")
    install_hint: str = Field(default="", alias="installHint")
    provide_cluster_info: bool = Field(default=False, alias="provideClusterInfo")
    interactive_mode: str = Field(default="IfAvailable", alias="interactiveMode")


class User(Part):
    """How to prove who we are."""

    token: str = ""
    token_file: str = Field(default="", alias="tokenFile")
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    username: str = ""
    password: str = ""
    plugin: Plugin | None = Field(default=None, alias="exec")
    auth_provider: Mapping[str, Any] | None = None
    impersonate: str = Field(default="", alias="as")
    impersonate_uid: str = Field(default="", alias="as-uid")
    impersonate_groups: tuple[str, ...] = Field(default=(), alias="as-groups")
    impersonate_extra: Mapping[str, tuple[str, ...]] = Field(default={}, alias="as-user-extra")


class _Context(Part):
    cluster: str
    user: str = ""
    namespace: str = "default"


P = TypeVar("P", bound=Part)


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """What the context names."""

    cluster: Cluster
    user: User
    namespace: str
    cluster_folder: str = ""
    """Where the cluster's paths are relative to."""
    user_folder: str = ""

    def authority(self) -> bytes:
        """Return the certificates to trust, in PEM; nothing for this machine's. Raises UsageError."""
        cluster = self.cluster
        return content(cluster.certificate_authority_data, cluster.certificate_authority, self.cluster_folder)

    def certificate(self) -> tuple[bytes, bytes]:
        """Return our certificate and its key, in PEM, or nothing of both; raise UsageError."""
        user, folder = self.user, self.user_folder
        return (
            content(user.client_certificate_data, user.client_certificate, folder),
            content(user.client_key_data, user.client_key, folder),
        )


def read(paths: Sequence[str], context: str | None) -> Kubeconfig:
    """Read the files and find the context, the current one by default; raise UsageError."""
    files = [(path, _load(path)) for path in paths if os.path.exists(path)]
    name = context or next(
        (str(one["current-context"]) for _, one in files if one.get("current-context")), ""
    )
    if not name:
        raise UsageError(
            f"the kubeconfig {os.pathsep.join(paths)} has no current context",
            remedy="set one with `kubectl config use-context`, or name one with --context",
        )
    chosen, _ = _find(files, "context", name, _Context)
    cluster, cluster_folder = _find(files, "cluster", chosen.cluster, Cluster)
    user, user_folder = _find(files, "user", chosen.user, User) if chosen.user else (User(), "")
    return Kubeconfig(cluster, user, chosen.namespace, cluster_folder, user_folder)


def _load(path: str) -> Mapping[str, Any]:
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"the kubeconfig {path} cannot be read: {first_line(error)}") from error
    if not isinstance(loaded, dict):
        raise UsageError(f"the kubeconfig {path} cannot be read: it is not a mapping")
    return loaded


def _find(
    files: Sequence[tuple[str, Mapping[str, Any]]], kind: str, name: str, model: type[P]
) -> tuple[P, str]:
    """Return the first entry of that name, and the folder of the file that has it."""
    for path, config in files:
        entries = config.get(f"{kind}s") or []
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("name") == name:
                return _checked(entry.get(kind) or {}, kind, name, model), str(Path(path).resolve().parent)
    raise UsageError(f"the kubeconfig has no {kind} {name}", remedy=_CHECK)


def _checked(value: Any, kind: str, name: str, model: type[P]) -> P:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"the kubeconfig's {kind} {name} cannot be used: {where}: {first['msg'].lower()}", remedy=_CHECK
        ) from None


def content(data: str, path: str, folder: str) -> bytes:
    """Return what is given as data in base64, or in a file; raise UsageError."""
    try:
        if data:
            return base64.b64decode(data, validate=False)
        return (Path(folder) / path).read_bytes() if path else b""
    except (OSError, binascii.Error) as error:
        raise UsageError(f"the kubeconfig's certificates cannot be read: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return what an error says, without what follows."""
    return (str(error).splitlines() or [type(error).__name__])[0]
