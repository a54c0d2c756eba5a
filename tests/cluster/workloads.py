"""The objects that the tests impersonate, with random values."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import made

Object = dict[str, Any]
SERVER: Final = Path(__file__).with_name("server.py")


def _random(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"


_AS_ROOT: Final = {"securityContext": {"runAsUser": 0, "runAsGroup": 0}}
"""The image's own user is nobody."""


@dataclass(frozen=True, slots=True)
class Workloads:
    """One namespace of them."""

    namespace: str = field(default_factory=lambda: _random("tests"))
    greeting: str = field(default_factory=lambda: _random("greeting"))
    config: str = field(default_factory=lambda: _random("config"))
    password: str = field(default_factory=lambda: _random("password"))

    def objects(self) -> list[Object]:
        """Return everything, the namespace first."""
        template = {"metadata": {"labels": {"app": "web"}}, "spec": self._pod()}
        job = {"metadata": {"labels": {"app": "task"}}, "spec": {**self._pod(), "restartPolicy": "Never"}}
        select = {"selector": {"matchLabels": {"app": "web"}}}
        expression = {"key": "app", "operator": "In", "values": ["set"]}
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            self._object("v1", "ConfigMap", "config", data={"config.yaml": f"{self.config}\n"}),
            self._object("v1", "ConfigMap", "server", data={"server.py": SERVER.read_text()}),
            self._object("v1", "Secret", "password", stringData={"password": self.password}),
            self._object(
                "apps/v1", "Deployment", "web", spec={"replicas": 3, **select, "template": template}
            ),
            self._object("v1", "Service", "web", spec=_service("web")),
            self._object("v1", "Service", "set", spec=_service("set")),
            self._object(
                "apps/v1",
                "StatefulSet",
                "db",
                spec={
                    "serviceName": "db",
                    "selector": {"matchExpressions": [expression]},
                    "template": {"metadata": {"labels": {"app": "set"}}, "spec": {**self._pod(), **_AS_ROOT}},
                },
            ),
            self._object("apps/v1", "DaemonSet", "every", spec=self._labelled("every")),
            self._object("apps/v1", "ReplicaSet", "copies", spec={"replicas": 1, **self._labelled("copies")}),
            self._object("batch/v1", "Job", "task", spec={"template": job}),
            self._object(
                "batch/v1",
                "CronJob",
                "nightly",
                spec={"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": job}}},
            ),
            self._object("v1", "Pod", "meshed", spec=self._meshed()),
        ]

    def _labelled(self, label: str) -> Object:
        labels = {"app": label}
        return {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": self._pod()},
        }

    def _object(self, version: str, kind: str, name: str, **parts: Any) -> Object:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **parts}

    def _pod(self) -> Object:
        mounts = [
            ("config", "/app"),
            ("server", "/server"),
            ("password", "/secrets"),
            ("private", "/private"),
        ]
        container = {
            **server("app"),
            "env": [{"name": "GREETING", "value": self.greeting}],
            "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts],
        }
        volumes: list[Object] = [{"name": name, "configMap": {"name": name}} for name in ("config", "server")]
        secret = {"secretName": "password"}
        volumes.append({"name": "password", "secret": secret})
        volumes.append({"name": "private", "secret": {**secret, "defaultMode": 0o400}})
        return {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes}

    def _meshed(self) -> Object:
        """Return a pod whose first container is a service mesh's, and that has two others."""
        pod = self._pod()
        proxy = {"name": "istio-proxy", "image": made.AGENT_IMAGE, "command": ["sleep", "inf"]}
        other = {**proxy, "name": "other", "env": [{"name": "GREETING", "value": "other"}]}
        return {**pod, "containers": [proxy, *pod["containers"], other]}


def server(name: str) -> Object:
    """Return a container that runs the server of tests/cluster/server.py."""
    return {
        "name": name,
        "image": made.AGENT_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "/server/server.py"],
        "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
    }


def echo() -> list[Object]:
    """Return the service that the programs of tests/programs ask, which is in the namespace ``default``."""
    labels = {"app": "echo"}
    volume = {"name": "server", "configMap": {"name": "echo"}}
    container = {**server("echo"), "volumeMounts": [{"name": "server", "mountPath": "/server"}]}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": [volume]}
    metadata = {"name": "echo", "namespace": "default"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"server.py": SERVER.read_text()},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": _service("echo")},
    ]


def _service(app: str) -> Object:
    return {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]}
