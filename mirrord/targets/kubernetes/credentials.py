"""Says who we are to the API server: a token, one from a file, a credential plugin's, a name and a password.

A plugin is run as client-go does (``client-go/plugin/pkg/client/auth/exec``), with our own environment, never
the program's. What it says is kept until it expires, or until the API server does not take it any more.
"""

import asyncio
import base64
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_kube_config_from_dict
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mirrord import ours
from mirrord.errors import TargetError, UsageError
from mirrord.targets.kubernetes.kubeconfig import Kubeconfig, Plugin, User, first_line

_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EARLY: Final = timedelta(seconds=10)
"""A credential is replaced that long before it expires."""
_LOG_IN: Final = "check it with `kubectl get pods`, which may ask you to log in"


class _Status(BaseModel):
    """What a plugin says."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
    token: str = ""
    expires: datetime | None = Field(default=None, alias="expirationTimestamp")
    certificate: str = Field(default="", alias="clientCertificateData")
    key: str = Field(default="", alias="clientKeyData")


class _Credential(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
    status: _Status


class Credentials:
    """Those of one user."""

    def __init__(self, config: Kubeconfig, take_certificate: Callable[[bytes, bytes], None]) -> None:
        """``take_certificate`` is given the certificate and the key that a plugin has."""
        self._config: Final = config
        self._take_certificate: Final = take_certificate
        self._lock: Final = asyncio.Lock()
        self._status: _Status | None = None

    async def headers(self) -> dict[str, str]:
        """Return the headers that say who we are; raise TargetError or UsageError."""
        user = self._config.user
        headers = _impersonation(user)
        if token := await self._token():
            headers["authorization"] = f"Bearer {token}"
        elif user.username:
            pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
            headers["authorization"] = f"Basic {pair}"
        return headers

    def refused(self) -> bool:
        """Forget what the API server did not take; tell whether there may be something new."""
        self._status, had = None, self._status
        return had is not None or bool(self._config.user.token_file)

    async def prepare(self) -> None:
        """Run the plugin, if there is one: a certificate comes from there, too."""
        if self._config.user.plugin is not None:
            await self._ask(self._config.user.plugin)

    async def _token(self) -> str:
        user = self._config.user
        if user.token_file:
            # it is written anew from time to time, and goes before a token (client-go)
            return self._from_file(user.token_file)
        if user.auth_provider is not None:
            return await self._from_provider(user.auth_provider)
        if user.token or user.plugin is None:
            return user.token
        return (await self._ask(user.plugin)).token

    async def _from_provider(self, provider: Mapping[str, Any]) -> str:
        """Have the Kubernetes client ask one of the old providers, such as ``oidc``."""
        if self._status is None:
            settings = Configuration()
            try:
                await load_kube_config_from_dict(  # type: ignore[no-untyped-call]
                    _alone(provider), client_configuration=settings
                )
            except (ConfigException, ValueError, ImportError) as error:
                raise TargetError(
                    f"the auth provider {provider.get('name')} gave no token: {first_line(error)}",
                    remedy=_LOG_IN,
                ) from error
            self._status = _Status(token=settings.api_key.get("BearerToken", "").removeprefix("Bearer "))
        return self._status.token

    def _from_file(self, name: str) -> str:
        try:
            return (Path(self._config.user_folder) / name).read_text().strip()
        except OSError as error:
            raise UsageError(f"the kubeconfig's token cannot be read: {first_line(error)}") from error

    async def _ask(self, plugin: Plugin) -> _Status:
        async with self._lock:
            if self._status is None or _expired(self._status):
                self._status = await _run(plugin, self._config)
                if self._status.certificate:
                    self._take_certificate(self._status.certificate.encode(), self._status.key.encode())
            return self._status


def _alone(provider: Mapping[str, Any]) -> dict[str, Any]:
    """Return a kubeconfig with nothing but an auth provider."""
    return {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": "https://localhost"}}],
        "users": [{"name": "it", "user": {"auth-provider": dict(provider)}}],
    }


def _expired(status: _Status) -> bool:
    return status.expires is not None and datetime.now(UTC) > status.expires - _EARLY


def _impersonation(user: User) -> dict[str, str]:
    """Return the headers of ``kubectl --as``; each can be there once."""
    if not user.impersonate:
        return {}
    headers = {"Impersonate-User": user.impersonate}
    if user.impersonate_uid:
        headers["Impersonate-Uid"] = user.impersonate_uid
    if len(user.impersonate_groups) > 1 or user.impersonate_extra:
        raise UsageError(
            "a kubeconfig that impersonates several groups, or has `as-user-extra`, is not supported",
            remedy="use a user with one group or none",
        )
    if user.impersonate_groups:
        headers["Impersonate-Group"] = user.impersonate_groups[0]
    return headers


async def _run(plugin: Plugin, config: Kubeconfig) -> _Status:
    """Run a plugin; raise UsageError or TargetError."""
    if plugin.api_version not in _VERSIONS:
        raise UsageError(
            f"the credential plugin {plugin.command} is of the unknown version {plugin.api_version}",
            remedy=f"known: {', '.join(_VERSIONS)}",
        )
    if plugin.interactive_mode == "Always":
        raise UsageError(
            f"the credential plugin {plugin.command} wants a terminal, which it cannot have here",
            remedy="use a kubeconfig whose plugin has `interactiveMode: IfAvailable`",
        )
    environment = {**os.environ, **{one.name: one.value for one in plugin.env}}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(_info(plugin, config))
    try:
        status, written = await ours.output([_command(plugin, config), *plugin.args], environment=environment)
    except OSError as error:
        raise UsageError(
            f"the credential plugin {plugin.command} cannot be run: {error.strerror}",
            remedy=" ".join(plugin.install_hint.split())
            or "correct the kubeconfig's `exec.command`, or PATH",
        ) from error
    if status != 0:
        raise TargetError(
            f"the credential plugin {plugin.command} failed with exit status {status}", remedy=_LOG_IN
        )
    return _said(written, plugin)


def _command(plugin: Plugin, config: Kubeconfig) -> str:
    """Return the command; one with a slash is relative to the kubeconfig, one without is found by PATH."""
    return os.path.join(config.user_folder, plugin.command) if "/" in plugin.command else plugin.command


def _info(plugin: Plugin, config: Kubeconfig) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provide_cluster_info:
        spec["cluster"] = _cluster_info(config)
    return {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}


def _cluster_info(config: Kubeconfig) -> dict[str, Any]:
    cluster = config.cluster
    info = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": base64.b64encode(config.authority()).decode(),
        "proxy-url": cluster.proxy_url,
        "config": next(
            (
                one.get("extension")
                for one in cluster.extensions
                if one.get("name") == "client.authentication.k8s.io/exec"
            ),
            None,
        ),
    }
    return {key: value for key, value in info.items() if value}


def _said(written: bytes, plugin: Plugin) -> _Status:
    try:
        said = json.loads(written)
        if said.get("apiVersion") != plugin.api_version:
            raise ValueError
        status = _Credential.model_validate(said).status
    except (ValueError, AttributeError, ValidationError):
        raise TargetError(
            f"the credential plugin {plugin.command} did not print an ExecCredential of {plugin.api_version}",
            remedy=_LOG_IN,
        ) from None
    if not status.token and not (status.certificate and status.key):
        raise TargetError(f"the credential plugin {plugin.command} gave no credential", remedy=_LOG_IN)
    if status.expires is not None and status.expires.tzinfo is None:
        return status.model_copy(update={"expires": status.expires.replace(tzinfo=UTC)})
    return status
