import pytest
from pydantic import ValidationError

from mirrord.config.target import ClusterTarget, Target, check_target, parse_cluster_target
from mirrord.errors import UsageError


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("sandbox", "sandbox"),
        ({"path": "sandbox/a"}, "sandbox/a"),
        ({"pod": "web"}, "pod/web"),
        ({"deployment": "web", "container": "app"}, "deployment/web/container/app"),
        ({"path": {"stateful_set": "db"}, "namespace": "prod"}, "statefulset/db"),
        ({"labels": {"app": "web", "tier": "x"}}, "label/app=web,tier=x"),
        ({"path": None}, None),
    ],
)
def test_the_forms_of_a_target(given: object, path: str | None) -> None:
    assert Target.model_validate(given).path == path


@pytest.mark.parametrize(
    "given", [{"pod": "a", "job": "b"}, {"container": "c"}, {"pod": 3}, {"path": {"pood": "a"}}, 3]
)
def test_malformed_targets(given: object) -> None:
    with pytest.raises(ValidationError):
        Target.model_validate(given)


@pytest.mark.parametrize("path", ["sandbox", "sandbox/one"])
def test_sandboxes_are_supported(path: str) -> None:
    assert check_target(path) == path


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (None, "no target was given"),
        ("process/1", "is not supported yet"),
        ("sandboxes", "is of no known kind"),
        ("sandbox/", "is malformed"),
        ("sandbox/a/b", "is malformed"),
    ],
)
def test_what_is_not_supported_names_the_sandbox(path: str | None, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        check_target(path)
    assert "sandbox" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("targetless", ClusterTarget("targetless")),
        ("pod/web", ClusterTarget("pod", "web")),
        ("deploy/web", ClusterTarget("deployment", "web")),
        ("cronjob/web/container/app", ClusterTarget("cronjob", "web", "app")),
        ("label/app=web,tier!=x", ClusterTarget("label", "app=web,tier!=x")),
        ("label/example.com/part=web/container/app", ClusterTarget("label", "example.com/part=web", "app")),
    ],
)
def test_targets_in_a_cluster(path: str, target: ClusterTarget) -> None:
    assert check_target(path) == path
    assert parse_cluster_target(path) == target
    assert parse_cluster_target(str(target)) == target


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("pod", "pod/NAME"),
        ("pod/", "pod/NAME"),
        ("pod/a/b", "pod/NAME"),
        ("pod/a/container", "pod/NAME"),
        ("pod/a/container/", "pod/NAME"),
        ("pod/a/container/b/c", "pod/NAME"),
        ("label/web", "label/KEY=VALUE"),
        ("targetless/a", "pod, "),
        ("pood/a", "pod, "),
    ],
)
def test_malformed_targets_in_a_cluster(path: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_target(path)
    assert remedy in caught.value.remedy
