import pytest
from pydantic import ValidationError

from mirrord.config.target import Target, check_target
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
        ("pod/web", "the target `pod/web` is not supported yet"),
        ("statefulset/db", "is not supported yet"),
        ("targetless", "is not supported yet"),
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
