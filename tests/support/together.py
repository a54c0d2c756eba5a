"""Which tests run one after another in one process, where several processes run them."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

_PORTS: Final = ("attach", "dashboard", "incoming", "linked", "mesh", "sessions", "steal", "trace")
_TOGETHER: Final = {
    "the cluster": ("tests/cluster/",),
    "containers": ("tests/behaviour/test_container.py",),
    "ports": tuple(f"tests/behaviour/test_{name}" for name in _PORTS),
}
"""Tests that share what takes long to start, or whose programs listen on the same ports of this machine."""


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]  # xdist does not say its types
    """Hands out these as a whole, and all others one by one."""

    def _split_scope(self, nodeid: str) -> str:
        return next((what for what, places in _TOGETHER.items() if nodeid.startswith(places)), nodeid)
