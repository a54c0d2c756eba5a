"""Which tests run one after another in one process, where several processes run them."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

_TOGETHER: Final = ("tests/cluster/", "tests/behaviour/")
"""Tests that share what takes long to start, and whose programs listen on the same ports of this machine."""


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]  # xdist does not say its types
    """Hands out these as a whole, and all others one by one."""

    def _split_scope(self, nodeid: str) -> str:
        return next((place for place in _TOGETHER if nodeid.startswith(place)), nodeid)
