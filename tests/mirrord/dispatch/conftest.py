from collections.abc import Iterator
from pathlib import Path

import pytest

from .fakes import Stage, Theatre
from .remote import RemoteWorld


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Theatre]:
    """Make worlds with other configurations or links."""
    made = Theatre(tmp_path)
    yield made
    made.close()


@pytest.fixture
def stage(theatre: Theatre) -> Stage:
    """A world with the default configuration, whose link must not be touched."""
    return theatre.stage()


@pytest.fixture
def remote(theatre: Theatre) -> Iterator[RemoteWorld]:
    """A world with remote files, some of them open."""
    made = RemoteWorld(theatre)
    yield made
    made.close()
