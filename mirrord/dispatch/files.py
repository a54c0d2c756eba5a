"""The files plane: each call that names a path, decided by the rules of the session.

A local path is continued at once. A remote one is looked up in the target: opened as a placeholder with all
its content in it, answered from what is known of the target's directories, or asked for. Of the calls that
act on an open descriptor alone only those are trapped that change a file's attributes, or look at what a
placeholder does not have.
"""

from typing import Final

from mirrord.dispatch.directories import Directories
from mirrord.dispatch.looking import Looking
from mirrord.dispatch.opening import Opening
from mirrord.dispatch.places import Places
from mirrord.dispatch.refusing import Refusing
from mirrord.dispatch.row import Row
from mirrord.dispatch.world import World
from mirrord.dispatch.xattrs import Xattrs


class Files:
    """Files of the target."""

    def __init__(self, world: World) -> None:
        self._active: Final = world.paths.active
        places = Places(world)
        self._parts: Final = (
            Opening(world, places),
            Looking(world, places),
            Xattrs(world, places),
            Directories(world, places),
            Refusing(world, places),
        )

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [row for part in self._parts for row in part.rows()] if self._active else []
