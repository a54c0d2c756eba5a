import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mirrord.errors import MirrordError, TargetError, UsageError
from mirrord.ours import OURS
from mirrord.targets.kubernetes.credentials import Credentials
from mirrord.targets.kubernetes.kubeconfig import Cluster, Kubeconfig, User

V1 = "client.authentication.k8s.io/v1"
PLUGIN = """#!/bin/sh
echo run >> "$0.runs"
printf %s "$KUBERNETES_EXEC_INFO" > "$0.info"
env > "$0.environment"
cat "$0.says"
"""


class Scene:
    """A user with a plugin, a script that says what the test wants."""

    def __init__(self, folder: Path, **plugin: Any) -> None:
        self.script = folder / "plugin"
        self.script.write_text(PLUGIN)
        self.script.chmod(0o755)
        described = {"command": "./plugin", "apiVersion": V1, **plugin}
        user = User.model_validate({"exec": described})
        self.certificates: list[tuple[bytes, bytes]] = []
        config = Kubeconfig(
            Cluster(server="https://c:6443", tls_server_name="c.test"),
            user,
            "default",
            user_folder=str(folder),
        )
        self.credentials = Credentials(
            config, lambda certificate, key: self.certificates.append((certificate, key))
        )

    def says(self, *, expires: timedelta | None = None, version: str = V1, **status: str) -> None:
        """Set what the plugin will say."""
        if expires is not None:
            status["expirationTimestamp"] = (datetime.now(UTC) + expires).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        self._beside("says").write_text(json.dumps(said))

    @property
    def runs(self) -> int:
        """How often it was run."""
        return len(self._beside("runs").read_text().splitlines())

    def saw(self, what: str) -> str:
        """Return what the plugin saw."""
        return self._beside(what).read_text()

    def _beside(self, suffix: str) -> Path:
        return self.script.with_name(f"plugin.{suffix}")

    async def token(self) -> str:
        """Return what is sent."""
        return (await self.credentials.headers())["authorization"]


def test_a_plugin_is_run_once_while_what_it_says_is_valid(tmp_path: Path) -> None:
    scene = Scene(tmp_path, env=[{"name": "OWN", "value": "of the plugin"}])
    scene.says(token="one", expires=timedelta(hours=1))

    async def ask() -> list[str]:
        return await asyncio.gather(*(scene.token() for _ in range(5)))

    assert asyncio.run(ask()) == ["Bearer one"] * 5
    assert scene.runs == 1
    assert json.loads(scene.saw("info")) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    assert "OWN=of the plugin\n" in scene.saw("environment")
    assert not OURS


def test_a_plugin_is_run_again_when_what_it_said_has_expired(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.says(token="one", expires=timedelta(seconds=5))

    async def ask() -> list[str]:
        first = await scene.token()
        scene.says(token="two", expires=timedelta(hours=1))
        return [first, await scene.token(), await scene.token()]

    # shortly before, too
    assert asyncio.run(ask()) == ["Bearer one", "Bearer two", "Bearer two"]
    assert scene.runs == 2


def test_a_plugin_is_run_again_when_it_was_refused(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.says(token="one")

    async def ask() -> list[str]:
        first = await scene.token()
        scene.says(token="two")
        assert scene.credentials.refused()
        second = await scene.token()
        return [first, second]

    assert asyncio.run(ask()) == ["Bearer one", "Bearer two"]


def test_a_plugin_that_gives_a_certificate_and_is_told_of_the_cluster(tmp_path: Path) -> None:
    scene = Scene(tmp_path, provideClusterInfo=True, interactiveMode="Never")
    scene.says(clientCertificateData="certificate", clientKeyData="key")

    async def ask() -> dict[str, str]:
        await scene.credentials.prepare()
        return await scene.credentials.headers()

    assert asyncio.run(ask()) == {}
    assert scene.certificates == [(b"certificate", b"key")]
    cluster = json.loads(scene.saw("info"))["spec"]["cluster"]
    assert cluster == {"server": "https://c:6443", "tls-server-name": "c.test"}


@pytest.mark.parametrize(
    ("plugin", "status", "kind", "sentence"),
    [
        ({"command": "./absent", "installHint": "get it\nat x"}, {}, UsageError, "directory; get it at x"),
        ({"command": "no-such-plugin"}, {}, UsageError, "no-such-plugin cannot be run: "),
        ({"apiVersion": "v9"}, {}, UsageError, "is of the unknown version v9; known: "),
        ({"interactiveMode": "Always"}, {}, UsageError, "wants a terminal"),
        ({"command": "false"}, {}, TargetError, "false failed with exit status 1; check it with `kubectl"),
        ({}, {}, TargetError, "gave no credential"),
        ({}, {"clientCertificateData": "x"}, TargetError, "gave no credential"),
        ({}, {"token": "t", "version": "v0"}, TargetError, "did not print an ExecCredential"),
        ({"command": "true"}, {}, TargetError, "did not print an ExecCredential"),
    ],
)
def test_a_plugin_that_does_not_help(
    plugin: dict[str, Any], status: dict[str, str], kind: type[MirrordError], sentence: str, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, **plugin)
    scene.says(**status)  # type: ignore[arg-type]  # one of them is the version
    with pytest.raises(kind) as caught:
        asyncio.run(scene.token())
    assert sentence in str(caught.value)


def headers(folder: Path, **user: Any) -> dict[str, str]:
    config = Kubeconfig(
        Cluster(server="https://c"), User.model_validate(user), "default", user_folder=str(folder)
    )
    return asyncio.run(Credentials(config, lambda certificate, key: None).headers())


def test_a_token_from_a_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    assert headers(tmp_path, token="other", tokenFile="token") == {"authorization": "Bearer one"}
    (tmp_path / "token").write_text("two")
    assert headers(tmp_path, tokenFile=str(tmp_path / "token")) == {"authorization": "Bearer two"}
    with pytest.raises(UsageError, match="token cannot be read"):
        headers(tmp_path, tokenFile="absent")


def test_other_ways_to_say_who_we_are(tmp_path: Path) -> None:
    assert headers(tmp_path) == {}
    assert headers(tmp_path, username="me", password="pw") == {"authorization": "Basic bWU6cHc="}
    as_other = {"as": "you", "as-groups": ["g"], "as-uid": "7"}
    assert headers(tmp_path, token="t", **as_other) == {
        "Impersonate-User": "you",
        "Impersonate-Uid": "7",
        "Impersonate-Group": "g",
        "authorization": "Bearer t",
    }
    with pytest.raises(UsageError, match="several groups"):
        headers(tmp_path, **{"as": "you", "as-groups": ["g", "h"]})


def test_an_old_auth_provider(tmp_path: Path) -> None:
    token = "e30.e30.e30"
    oidc = {"name": "oidc", "config": {"id-token": token}}
    assert headers(tmp_path, **{"auth-provider": oidc}) == {"authorization": f"Bearer {token}"}
    with pytest.raises(TargetError, match="the auth provider oidc gave no token: "):
        headers(tmp_path, **{"auth-provider": {"name": "oidc", "config": {}}})
