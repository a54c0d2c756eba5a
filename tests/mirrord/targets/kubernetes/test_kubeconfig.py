import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mirrord.errors import UsageError
from mirrord.targets.kubernetes.kubeconfig import Kubeconfig, read


def write(path: Path, *, current: str = "", **entries: Any) -> str:
    """Write a file with these clusters, users and contexts."""
    config: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": current or None}
    for kind in ("cluster", "user", "context"):
        named = entries.get(f"{kind}s", {})
        config[f"{kind}s"] = [{"name": name, kind: value} for name, value in named.items()]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config))
    return str(path)


def cluster(host: str, **other: Any) -> dict[str, Any]:
    return {"server": f"https://{host}", **other}


def test_the_first_file_that_names_a_thing_wins(tmp_path: Path) -> None:
    first = write(
        tmp_path / "one" / "config",
        clusters={"red": cluster("one", **{"certificate-authority": "ca.pem"})},
        contexts={"a": {"cluster": "red", "user": "me"}},
    )
    second = write(
        tmp_path / "two" / "config",
        current="a",
        clusters={"red": cluster("two", **{"tls-server-name": "not looked at"})},
        users={"me": {"client-certificate": "me.pem", "client-key-data": base64.b64encode(b"key").decode()}},
        contexts={"b": {"cluster": "red", "namespace": "prod"}},
    )
    third = write(tmp_path / "three", current="b", users={"me": {"token": "not looked at"}})
    (tmp_path / "one" / "ca.pem").write_bytes(b"authority")
    (tmp_path / "two" / "me.pem").write_bytes(b"certificate")

    paths = [first, str(tmp_path / "absent"), second, third]
    found = read(paths, None)
    assert (found.cluster.server, found.cluster.tls_server_name) == ("https://one", "")
    assert (found.user.token, found.namespace) == ("", "default")
    assert found.authority() == b"authority"
    assert found.certificate() == (b"certificate", b"key")

    other = read(paths, "b")
    assert (other.namespace, other.user.token) == ("prod", "")
    assert other.certificate() == (b"", b"")


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({}, "has no current context; set one with `kubectl config use-context`"),
        ({"current": "a"}, "has no context a; "),
        ({"current": "a", "contexts": {"a": {"cluster": "c"}}}, "has no cluster c; "),
        (
            {"current": "a", "contexts": {"a": {"cluster": "c"}}, "clusters": {"c": {"server": 7}}},
            "cluster c cannot be used: server: input should be a valid string",
        ),
        ({"current": "a", "contexts": {"a": {"user": "u"}}}, "context a cannot be used: cluster: "),
        (
            {
                "current": "a",
                "contexts": {"a": {"cluster": "c", "user": "u"}},
                "clusters": {"c": cluster("c")},
            },
            "has no user u; ",
        ),
    ],
)
def test_what_is_missing_is_said(entries: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read([write(tmp_path / "config", **entries)], None)
    assert sentence in str(caught.value)


def test_no_secret_is_in_what_is_said(tmp_path: Path) -> None:
    entries = {"contexts": {"a": {"cluster": "c", "user": "u"}}, "clusters": {"c": cluster("c")}}
    path = write(tmp_path / "config", current="a", users={"u": {"token": ["s3cret"]}}, **entries)
    with pytest.raises(UsageError) as caught:
        read([path], None)
    assert "token" in str(caught.value)
    assert "s3cret" not in repr(caught.value.__context__) + str(caught.value)


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    entries = {"contexts": {"a": {"cluster": "c"}}}
    clusters = {"c": cluster("c", **{"certificate-authority": "absent.pem"})}
    found: Kubeconfig = read([write(tmp_path / "config", current="a", clusters=clusters, **entries)], None)
    with pytest.raises(UsageError, match=r"certificates cannot be read: .*absent\.pem"):
        found.authority()
