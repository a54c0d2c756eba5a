"""Accounts of the cluster with chosen permissions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

from ..support.build import ROOT
from .cluster import Cluster

Account = Callable[[list[dict[str, Any]]], Path]


def roles() -> list[dict[str, Any]]:
    """Return the roles of docs/rbac.yaml."""
    return list(yaml.safe_load_all((ROOT / "docs" / "rbac.yaml").read_text()))


def with_token(cluster: Cluster, token: str, path: Path) -> Path:
    """Write a kubeconfig with another token, and return its path."""
    config = json.loads(cluster.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


def without(verb: str, resource: str, role: dict[str, Any]) -> dict[str, Any]:
    """Return a role without one permission."""
    rules = []
    for rule in role["rules"]:
        others = [name for name in rule["resources"] if name != resource]
        rules.append({**rule, "resources": others})
        if resource in rule["resources"]:
            verbs = [one for one in rule["verbs"] if one not in (verb, *_WITH.get(resource, ()))]
            rules.append({**rule, "resources": [resource], "verbs": verbs})
    return {**role, "rules": [rule for rule in rules if rule["resources"] and rule["verbs"]]}


_WITH: Final = {"pods/portforward": ("get",)}
"""Verbs that stand for the same thing."""
