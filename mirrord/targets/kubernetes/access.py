"""Access to the API server: the kubeconfig, and what it refuses, as sentences."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException

from mirrord.errors import TargetError, UsageError

_DEFAULT: Final = "~/.kube/config"
_RULES: Final = "docs/rbac.yaml has the rules"
_REFUSED: Final = 400
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

    async def headers(self, path: str, method: str = "GET") -> dict[str, str]:
        """Return the headers that say who we are."""
        headers: dict[str, str] = {}
        await self.client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        return headers

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
        headers = await self.headers(path, method)
        if method == "PATCH":
            headers["Content-Type"] = "application/strategic-merge-patch+json"
        answer = await self.client.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=timeout
        )
        response: aiohttp.ClientResponse = answer.response
        if response.status >= _REFUSED:
            text = await response.text(errors="replace")
            raise ApiException(status=response.status, reason=response.reason or "", body=text)
        return response

    async def close(self) -> None:
        """Close its connections."""
        await self.client.close()  # type: ignore[no-untyped-call]


async def connect(
    *, kubeconfig: str | None, context: str | None, accept_invalid_certificates: bool | None
) -> Access:
    """Read the kubeconfig as kubectl does, without asking the server anything; raise UsageError."""
    paths = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT
    settings = Configuration()
    if not _exists(paths) and kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        namespace = _in_cluster(settings)
    else:
        namespace = await _from_files(paths, context, settings)
    if accept_invalid_certificates is not None:
        settings.verify_ssl = not accept_invalid_certificates
    try:
        return Access(ApiClient(settings), settings, namespace)
    except OSError as error:
        raise UsageError(f"the kubeconfig's certificates cannot be read: {error}") from error


def _exists(paths: str) -> bool:
    return any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path)


def _in_cluster(settings: Configuration) -> str:
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise UsageError(f"this pod's service account cannot be used: {error}") from error
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text().strip()


async def _from_files(paths: str, context: str | None, settings: Configuration) -> str:
    if not _exists(paths):
        raise UsageError(
            f"there is no kubeconfig at {paths}",
            remedy="set KUBECONFIG, or try `-t sandbox`, which needs no cluster",
        )
    try:
        loader = await config.load_kube_config(  # type: ignore[no-untyped-call]
            os.pathsep.join(os.path.expanduser(path) for path in paths.split(os.pathsep)),
            context=context,
            client_configuration=settings,
            persist_config=False,
        )
    except ConfigException as error:
        raise UsageError(
            f"the kubeconfig {paths} cannot be used: {_first_line(error)}",
            remedy="check it with `kubectl get pods`",
        ) from error
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
        # the client looks into a file without checking its shape
        raise UsageError(f"the kubeconfig {paths} cannot be read: {_first_line(error)}") from error
    described: dict[str, Any] = loader.current_context.get("context") or {}
    return str(described.get("namespace") or "default")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
            f"the API server cannot be reached: {_first_line(error)}",
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
    return TargetError(f"the API server refused to {verb} {resource}{where}: {message(error)}")


def is_forbidden(error: TargetError) -> bool:
    """Tell whether a permission is missing."""
    cause = error.__cause__
    return isinstance(cause, ApiException) and cause.status == 403 and not _admission(cause)


def _admission(error: Any) -> bool:
    """Tell a quota's or a webhook's refusal, which is also a 403, from a missing permission."""
    return " cannot " not in message(error)


def message(error: Any) -> str:
    """Return what the API server said, in one line."""
    try:
        status = json.loads(error.body or "{}")
        said = status.get("message") if isinstance(status, dict) else None
    except ValueError:
        said = None
    return " ".join(str(said or error.reason or error.status).split())
