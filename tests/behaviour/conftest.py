"""After every test nothing may be left."""

from collections.abc import Iterator

import pytest

from ..support.leaks import Ground
from ..support.running import Runner
from ..support.sandboxes import Sandbox


@pytest.fixture(autouse=True)
def clean(runner: Runner, sandbox: Sandbox) -> Iterator[None]:
    """Check that processes, sockets, namespaces and files of the test's sessions are gone."""
    mark = sandbox.runner.mark
    ground = Ground.before(runner.user, mark=runner.mark, sandbox=mark, processes=sandbox.processes())
    yield
    ground.check_clean()
