"""The usual clients of databases, on this machine, speak to databases that only the cluster reaches."""

import os
import secrets
from collections.abc import Iterator

import pytest

from ..support.needs import tool
from . import made
from .conftest import Session
from .databases import Databases
from .workloads import Workloads

_ROWS = 20_000


@pytest.fixture(scope="module")
def databases(workloads: Workloads, request: pytest.FixtureRequest) -> Iterator[Databases]:
    """PostgreSQL and Redis, ready."""
    for name in ("psql", "redis-cli"):
        tool(name)
    cluster = request.getfixturevalue("cluster")
    if cluster.state is not None:
        cluster.load(made.databases())
    elif "MIRRORD_TEST_DATABASES_IMAGE" not in os.environ:
        pytest.skip("a cluster of the user's own has no image with databases: MIRRORD_TEST_DATABASES_IMAGE")
    one = Databases(workloads.namespace)
    cluster.apply(*one.objects())
    here = f"--namespace={one.namespace}"
    pods = ("pod/postgres", "pod/redis")
    cluster.kubectl("wait", here, "--for=condition=Ready", "--timeout=90s", *pods)
    yield one
    cluster.kubectl("delete", here, *pods, "service/postgres", "service/redis")


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("pod/meshed", ()),
        ("pod/meshed", ("-e",)),
        ("deployment/web", ()),
        ("deployment/web", ("-e",)),
        ("targetless", ()),
    ],
    ids=["pod", "pod-ephemeral", "deployment", "deployment-ephemeral", "targetless"],
)
def test_psql_and_redis_cli(
    target: str, options: tuple[str, ...], session: Session, databases: Databases
) -> None:
    word, value = f"word_{secrets.token_hex(4)}", secrets.token_hex(8)
    fill = f"create table {word} as select n, md5(n::text) from generate_series(1, {_ROWS}) n"
    script = (
        "export PAGER=cat\n"
        f"psql -h postgres -U app -d postgres -Atq -c '{fill}' -c 'select count(*), sum(n) from {word}'\n"
        f"psql -h postgres -U app -d postgres -c 'copy {word} to stdout' | wc -l\n"
        f"redis-cli -h redis set {word} {value}\n"
        f"redis-cli -h redis --no-auth-warning get {word}\n"
    )
    env = {"PGPASSWORD": databases.password, "REDISCLI_AUTH": databases.password}
    found = session(target, "sh", "-ec", script, options=options, env=env)

    assert found.lines == [f"{_ROWS}|{_ROWS * (_ROWS + 1) // 2}", str(_ROWS), "OK", value]
    ask = ("exec", f"--namespace={databases.namespace}", "redis", "--", "redis-cli")
    told = session.cluster.kubectl(*ask, "-a", databases.password, "--no-auth-warning", "get", word)
    assert told.strip() == value
