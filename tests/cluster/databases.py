"""PostgreSQL and Redis as pods, each behind a service of its name, with random passwords."""

import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from . import made

Object = dict[str, Any]
_POSTGRES: Final = """
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
echo "$PASSWORD" > /data/password
initdb --pgdata=/data/db --username=app --pwfile=/data/password --auth=scram-sha-256 --no-sync
echo 'host all all all scram-sha-256' >> /data/db/pg_hba.conf
exec postgres -D /data/db -k /data -c listen_addresses='*' -c fsync=off -c jit=off
"""
_REDIS: Final = 'exec redis-server --bind 0.0.0.0 --requirepass "$PASSWORD" --dir /data --save ""'
_ANYBODY: Final = {"runAsUser": 65534, "runAsGroup": 65534}
"""PostgreSQL does not run as root."""


@dataclass(frozen=True, slots=True)
class Databases:
    """The two of them in one namespace."""

    namespace: str
    password: str = field(default_factory=lambda: secrets.token_hex(8))

    def objects(self) -> list[Object]:
        """Return pods and services."""
        return [*self._served("postgres", _POSTGRES, 5432), *self._served("redis", _REDIS, 6379)]

    def _served(self, name: str, script: str, port: int) -> list[Object]:
        labels = {"app": name}
        container = {
            "name": name,
            "image": made.DATABASES_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-ec", script],
            "env": [{"name": "PASSWORD", "value": self.password}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        }
        pod = {
            "terminationGracePeriodSeconds": 0,
            "securityContext": _ANYBODY,
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}],
        }
        metadata = {"name": name, "namespace": self.namespace}
        service = {"selector": labels, "ports": [{"port": port}]}
        return [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": labels}, "spec": pod},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        ]
