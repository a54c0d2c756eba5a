import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from kubernetes.aio.client.exceptions import ApiException

from mirrord.errors import TargetError, UsageError
from mirrord.targets.kubernetes import access
from mirrord.targets.kubernetes.access import asking, connect

from .server import Authority, serving


def kubeconfig(path: Path, *, current: str = "one", **user: Any) -> Path:
    """Write one with two contexts."""
    contexts = [
        {"name": name, "context": {"cluster": "c", "user": "u", **extra}}
        for name, extra in (("one", {}), ("two", {"namespace": "prod"}))
    ]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current,
        "clusters": [{"name": "c", "cluster": {"server": "https://c.test:6443", "tls-server-name": "x"}}],
        "users": [{"name": "u", "user": {"token": "secret", **user}}],
        "contexts": contexts,
    }
    path.write_text(json.dumps(config))
    return path


async def described(path: Path | str, **options: Any) -> tuple[str, str, Any, str]:
    access = await connect(
        kubeconfig=str(path),
        context=options.get("context"),
        accept_invalid_certificates=options.get("accept_invalid_certificates"),
    )
    settings = access.configuration
    headers = await access.headers("/")
    await access.close()
    verify: Any = settings.verify_ssl
    return access.namespace, settings.host, verify, headers["authorization"]


def test_the_current_context(tmp_path: Path) -> None:
    found = asyncio.run(described(kubeconfig(tmp_path / "config")))
    assert found == ("default", "https://c.test:6443", True, "Bearer secret")


def test_another_context_and_certificates(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config")
    found = asyncio.run(described(path, context="two", accept_invalid_certificates=True))
    assert (found[0], found[2]) == ("prod", False)


def test_several_files(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config")
    assert asyncio.run(described(f"{tmp_path}/none:{path}"))[1] == "https://c.test:6443"


def test_a_credential_plugin_has_the_local_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGIN_SECRET", "from-here")
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    script = json.dumps({**credential, "status": {"token": "$PLUGIN_SECRET"}}).replace('"', '\\"')
    command = {"apiVersion": credential["apiVersion"], "command": "sh", "args": ["-c", f'echo "{script}"']}
    path = kubeconfig(tmp_path / "config", token=None, exec={**command, "interactiveMode": "Never"})
    assert asyncio.run(described(path))[3] == "Bearer from-here"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: path.unlink(), "there is no kubeconfig at "),
        (lambda path: path.write_text("a: [b"), "cannot be read"),
        (lambda path: path.write_text("- a"), "cannot be read"),
        (lambda path: kubeconfig(path, current="three"), "has no context three"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, change: Any, problem: str) -> None:
    path = kubeconfig(tmp_path / "config")
    change(path)
    with pytest.raises(UsageError, match=problem):
        asyncio.run(described(path))


def refused(status: int, message: str = "", name: str = "") -> TargetError:
    body = json.dumps({"kind": "Status", "message": message})
    with pytest.raises(TargetError) as caught, asking("create", "jobs.batch", "prod", name):
        raise ApiException(status=status, reason="Why", body=body)
    return caught.value


def test_what_the_server_refuses() -> None:
    missing = refused(403, 'jobs.batch is forbidden: User "me" cannot create resource "jobs"')
    assert missing.problem == "you are not allowed to create jobs.batch in the namespace prod"
    assert missing.remedy.startswith("ask for the verb `create` on `jobs.batch` in the namespace prod")
    quota = refused(403, 'jobs.batch "x" is forbidden: exceeded quota: none')
    assert quota.problem.endswith(
        'refused to create jobs.batch in the namespace prod: jobs.batch "x" is '
        "forbidden: exceeded quota: none"
    )
    assert refused(401).remedy.startswith("log in again")
    assert refused(404, name="web").problem == "there is no job web in the namespace prod"
    assert refused(500, 'admission webhook "w" denied\nthe request').problem.endswith(
        'prod: admission webhook "w" denied the request'
    )


def test_a_server_that_is_not_reached() -> None:
    with (
        pytest.raises(TargetError, match="the API server cannot be reached: no route"),
        asking("get", "pods", None),
    ):
        raise aiohttp.ClientError("no route")


async def asked(path: Path | str | None, **options: Any) -> dict[str, Any]:
    """Ask a server who we are."""
    access = await connect(
        kubeconfig=str(path) if path else None,
        context=None,
        accept_invalid_certificates=options.get("accept_invalid_certificates"),
    )
    try:
        return dict(await access.get("/who"))
    finally:
        await access.close()


def for_server(path: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    """Write a kubeconfig."""
    context = {"name": "it", "context": {"cluster": "it", "user": "it"}}
    config = {
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "it", "user": user}],
        "contexts": [context],
    }
    path.write_text(json.dumps(config))
    return path


def test_certificates_of_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nothing may be written"))
    authority = Authority(tmp_path)
    authority.issue("server", "api.test")
    authority.issue("me")
    data = base64.b64encode((tmp_path / "me.key").read_bytes()).decode()
    user = {"client-certificate": "me.pem", "client-key-data": data}

    async def scenario() -> None:
        async with serving(authority.context("server")) as port:
            server, path = f"https://127.0.0.1:{port}", tmp_path / "config"
            for_server(path, server, user, **{"certificate-authority": "ca.pem"})
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                # it is not for this address
                await asked(path)
            assert (await asked(path, accept_invalid_certificates=True))["certificate"] == "me"
            name = {"certificate-authority": "ca.pem", "tls-server-name": "api.test"}
            assert (await asked(for_server(path, server, user, **name)))["certificate"] == "me"
            insecure = {"insecure-skip-tls-verify": True}
            assert (await asked(for_server(path, server, {}, **insecure)))["certificate"] is None
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await asked(path, accept_invalid_certificates=False)

    asyncio.run(scenario())


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    bad = {"client-certificate-data": "bm9uZQ==", "client-key-data": "bm9uZQ=="}
    with pytest.raises(UsageError, match="the client certificate cannot be used"):
        asyncio.run(asked(for_server(tmp_path / "config", "https://c", bad)))
    authority = {"certificate-authority-data": "bm9uZQ=="}
    with pytest.raises(UsageError, match="certificates cannot be read"):
        asyncio.run(asked(for_server(tmp_path / "config", "https://c", {}, **authority)))


def test_through_a_proxy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving() as port:
            proxy = {"proxy-url": f"http://127.0.0.1:{port}"}
            found = await asked(for_server(tmp_path / "config", "http://api.test", {"token": "t"}, **proxy))
            assert (found["host"], found["authorization"]) == ("api.test", "Bearer t")

    asyncio.run(scenario())
    socks = {"proxy-url": "socks5://127.0.0.1:1"}
    with pytest.raises(UsageError, match=r"the proxy socks5://.* is not supported"):
        asyncio.run(asked(for_server(tmp_path / "config", "http://api.test", {}, **socks)))


def test_what_was_refused_is_asked_for_again(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    said = {"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "old"}}
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\nsed -i s/old/new/ $0\n")
    plugin.chmod(0o755)
    tokens: list[str | None] = []

    def answer(request: web.BaseRequest) -> web.Response:
        tokens.append(request.headers.get("authorization"))
        return web.json_response({}, status=200 if tokens[-1] == "Bearer new" else 401)

    async def scenario() -> None:
        async with serving(answer=answer) as port:
            user = {"exec": {"command": str(plugin), "apiVersion": said["apiVersion"]}}
            path = for_server(tmp_path / "config", f"http://127.0.0.1:{port}", user)
            await asked(path)
            assert tokens == ["Bearer old", "Bearer new"]
            with pytest.raises(ApiException):
                await asked(for_server(path, f"http://127.0.0.1:{port}", {"token": "old"}))
            assert tokens[2:] == ["Bearer old"]

    asyncio.run(scenario())


def test_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    authority.issue("server", "127.0.0.1")
    (tmp_path / "ca.pem").rename(tmp_path / "ca.crt")
    (tmp_path / "namespace").write_text("prod")
    (tmp_path / "token").write_text("of the account")
    (tmp_path / "ca.pem").write_bytes((tmp_path / "ca.crt").read_bytes())
    monkeypatch.setattr(access, "_ACCOUNT", tmp_path)
    monkeypatch.setattr(access, "_DEFAULT", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")

    async def scenario() -> None:
        async with serving(authority.context("server")) as port:
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
            assert (await asked(None))["authorization"] == "Bearer of the account"

    asyncio.run(scenario())
    (tmp_path / "namespace").unlink()
    with pytest.raises(UsageError, match="service account cannot be used"):
        asyncio.run(asked(None))
