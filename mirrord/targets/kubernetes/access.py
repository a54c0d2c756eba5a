"""Access to the API server: the kubeconfig, and what it refuses, as sentences."""

import asyncio
import contextlib
import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException

from mirrord.errors import TargetError, UsageError
from mirrord.targets.kubernetes import kubeconfig as files
from mirrord.targets.kubernetes.admission import remedy_for
from mirrord.targets.kubernetes.credentials import Credentials
from mirrord.targets.kubernetes.kubeconfig import Cluster, Kubeconfig, User, first_line

_DEFAULT: Final = "~/.kube/config"
_RULES: Final = "docs/rbac.yaml has the rules"
_FORBIDDEN: Final = re.compile(" cannot [a-z]+ resource ")
"""In what RBAC says: ``User "me" cannot create resource "jobs"``."""
_UNKNOWN: Final = 401
_REFUSED: Final = 400
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_WHOLE: Final = aiohttp.ClientTimeout(total=30)
_PAUSE: Final = 0.2
"""Seconds before a watch that the server has ended begins anew."""
_ENDLESS: Final = aiohttp.ClientTimeout(total=None, connect=30)


@dataclass(frozen=True, slots=True)
class Access:
    """A way to one cluster, and the namespace that the context names.

    Objects come and go as JSON. The client's own methods for them take a second of processor time to import.
    """

    client: ApiClient
    configuration: Configuration
    namespace: str
    credentials: Credentials | None = None

    async def headers(self, path: str, method: str = "GET") -> dict[str, str]:
        """Return the headers that say who we are."""
        return {} if self.credentials is None else await self.credentials.headers()

    def is_renewed_after(self, status: int | None) -> bool:
        """Tell whether a request may be made again, with other credentials, once it had this answer."""
        return status == _UNKNOWN and self.credentials is not None and self.credentials.refused()

    async def get(self, path: str, **query: str) -> Any:
        """Return an object, or a list of them; raise ApiException."""
        return await (await self._request("GET", path, query, None, _WHOLE)).json()

    async def create(self, path: str, body: Any) -> Any:
        """Create an object; raise ApiException."""
        return await (await self._request("POST", path, {}, body, _WHOLE)).json()

    async def patch(self, path: str, body: Any) -> None:
        """Change an object, lists merged by their keys; raise ApiException."""
        await (await self._request("PATCH", path, {}, body, _WHOLE)).read()

    async def delete(self, path: str, body: Any) -> None:
        """Delete an object; raise ApiException."""
        await (await self._request("DELETE", path, {}, body, _WHOLE)).read()

    async def follow(self, path: str, **query: str) -> aiohttp.ClientResponse:
        """Return a response that goes on for as long as it is read; raise ApiException."""
        return await self._request("GET", path, query, None, _ENDLESS)

    async def watch(self, path: str, **query: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Give (kind, object) of what is there and of what changes, over and over; raise ApiException."""
        while True:
            async with await self.follow(path, watch="true", **query) as response:
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        # most often it is too old, and begins anew
                        break
                    yield str(event["type"]), event["object"]
            await asyncio.sleep(_PAUSE)

    async def _request(
        self, method: str, path: str, query: dict[str, str], body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        url = f"{self.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        response = await self._send(method, path, url, body, timeout)
        if self.is_renewed_after(response.status):
            response.release()
            response = await self._send(method, path, url, body, timeout)
        if response.status >= _REFUSED:
            text = await response.text(errors="replace")
            raise ApiException(status=response.status, reason=response.reason or "", body=text)
        return response

    async def _send(
        self, method: str, path: str, url: str, body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = await self.headers(path, method)
        if method == "PATCH":
            headers["Content-Type"] = "application/strategic-merge-patch+json"
        answer = await self.client.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=timeout
        )
        response: aiohttp.ClientResponse = answer.response
        return response

    async def close(self) -> None:
        """Close its connections."""
        await self.client.close()  # type: ignore[no-untyped-call]


async def connect(
    *, kubeconfig: str | None, context: str | None, accept_invalid_certificates: bool | None
) -> Access:
    """Read the kubeconfig as kubectl does, without asking the server anything; raise UsageError."""
    found = _found(kubeconfig, context)
    settings = _settings(found)
    if accept_invalid_certificates is not None:
        settings.verify_ssl = not accept_invalid_certificates
    try:
        client = ApiClient(settings)
    except (OSError, ValueError) as error:
        raise UsageError(f"the kubeconfig's certificates cannot be read: {first_line(error)}") from error
    use = partial(_use_certificate, client.rest_client.ssl_context)
    certificate, key = found.certificate()
    if certificate:
        use(certificate, key)
    credentials = Credentials(found, use)
    await credentials.prepare()
    return Access(client, settings, found.namespace, credentials)


def _found(kubeconfig: str | None, context: str | None) -> Kubeconfig:
    given = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT
    paths = [os.path.expanduser(path) for path in given.split(os.pathsep) if path]
    if any(map(os.path.exists, paths)):
        return files.read(paths, context)
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        return _in_cluster()
    raise UsageError(
        f"there is no kubeconfig at {given}",
        remedy="set KUBECONFIG, or try `-t sandbox`, which needs no cluster",
    )


def _in_cluster() -> Kubeconfig:
    """Return what a pod has: its service account, whose token is written anew from time to time."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    try:
        namespace = (_ACCOUNT / "namespace").read_text().strip()
    except OSError as error:
        raise UsageError(f"this pod's service account cannot be used: {first_line(error)}") from error
    cluster = Cluster(server=server, certificate_authority="ca.crt")
    return Kubeconfig(cluster, User(tokenFile="token"), namespace, str(_ACCOUNT), str(_ACCOUNT))


def _settings(found: Kubeconfig) -> Configuration:
    cluster, settings = found.cluster, Configuration()
    settings.host = cluster.server.rstrip("/")
    settings.ca_cert_data = found.authority().decode(errors="replace") or None
    settings.verify_ssl = not cluster.insecure_skip_tls_verify
    settings.tls_server_name = cluster.tls_server_name or None
    # what kubectl takes, the strict check that Python 3.13 has by default does not always
    settings.disable_strict_ssl_verification = True
    if cluster.proxy_url.startswith("socks"):
        raise UsageError(f"the proxy {cluster.proxy_url} is not supported", remedy="use one that speaks HTTP")
    settings.proxy = cluster.proxy_url or None
    return settings


def _use_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have new connections prove who we are by a certificate; its key is never in a file on a disk."""
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, certificate + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except OSError as error:
        # SSLError among them
        raise UsageError(f"the client certificate cannot be used: {first_line(error)}") from error
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def asking(verb: str, resource: str, namespace: str | None, name: str = "") -> Iterator[None]:
    """Turn what the API server refuses into TargetError.

    The arguments say what is asked for, as RBAC does: ``create``, ``pods/portforward``.
    """
    try:
        yield
    except ApiException as error:
        raise _explained(error, verb, resource, namespace, name) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise TargetError(
            f"the API server cannot be reached: {first_line(error)}",
            remedy="check the context with `kubectl get pods`",
        ) from error


def _explained(error: Any, verb: str, resource: str, namespace: str | None, name: str) -> TargetError:
    where = f" in the namespace {namespace}" if namespace else ""
    if error.status == 401:
        return TargetError(
            "the API server does not know who you are: it refused the kubeconfig's credentials",
            remedy="log in again, and check with `kubectl get pods`",
        )
    if error.status == 403 and not _admission(error):
        return TargetError(
            f"you are not allowed to {verb} {resource}{where}",
            remedy=f"ask for the verb `{verb}` on `{resource}`{where} ({_RULES})",
        )
    if error.status == 404 and name:
        return TargetError(f"there is no {resource.partition('.')[0].removesuffix('s')} {name}{where}")
    said = message(error)
    return TargetError(f"the API server refused to {verb} {resource}{where}: {said}", remedy=remedy_for(said))


def is_forbidden(error: TargetError) -> bool:
    """Tell whether a permission is missing."""
    cause = error.__cause__
    return isinstance(cause, ApiException) and cause.status == 403 and not _admission(cause)


def _admission(error: Any) -> bool:
    """Tell a quota's or a webhook's refusal, which is also a 403, from a missing permission."""
    return _FORBIDDEN.search(message(error)) is None


def message(error: Any) -> str:
    """Return what the API server said, in one line."""
    try:
        status = json.loads(error.body or "{}")
        said = status.get("message") if isinstance(status, dict) else None
    except ValueError:
        said = None
    return " ".join(str(said or error.reason or error.status).split())
