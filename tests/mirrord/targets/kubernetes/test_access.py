import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kubernetes.aio.client.exceptions import ApiException

from mirrord.errors import TargetError, UsageError
from mirrord.targets.kubernetes.access import asking, connect


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
        (lambda path: kubeconfig(path, current="three"), "cannot be used: .* three"),
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
