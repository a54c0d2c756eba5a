"""After every test nothing may be left."""

from collections.abc import Iterator

import pytest

from ..support.leaks import Ground
from ..support.running import Runner
from ..support.sandboxes import Sandbox


@pytest.fixture(autouse=True)
def clean(runner: Runner, sandbox: Sandbox) -> Iterator[None]:
    """Check that processes, sockets, namespaces and files of the test's sessions are gone."""
    ground = Ground.before(runner.user, runner.mark, sandbox.runner.mark)
    yield
    ground.check_clean()
