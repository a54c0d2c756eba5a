from collections.abc import Callable

import pytest

from mirrord.cli import cleanup, ls
from mirrord.errors import UsageError


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="unknown kind pood; use one of deployment, "):
        ls.main(["-t", "pood"])


def test_kinds_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRRORD_LS_TARGET_TYPES", '["pod", "pood"]')
    with pytest.raises(UsageError, match="unknown kind pood"):
        ls.main([])
    monkeypatch.setenv("MIRRORD_LS_TARGET_TYPES", "[")
    with pytest.raises(UsageError, match="`MIRRORD_LS_TARGET_TYPES` is no JSON list"):
        ls.main([])


@pytest.mark.parametrize("main", [ls.main, cleanup.main])
def test_without_a_kubeconfig(main: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/none/at/all")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UsageError, match="there is no kubeconfig at /none/at/all"):
        main([])
