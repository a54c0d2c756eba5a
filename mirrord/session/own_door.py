"""The door of a process that a session holds by itself, without a keeper: it is gone with the session."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

from mirrord.session import doors


class OwnDoor:
    """Where ``mirrord detach``, and other sessions, ask for one process."""

    def __init__(self, pid: int, end: Callable[[], None]) -> None:
        """Open it; ``end`` is called when somebody wants the session to end. Raises AttachError if another
        mirrord has the process.
        """
        self._path: Final = doors.path_of(pid)
        self._end: Final = end
        self._waiting: Final[list[socket.socket]] = []
        self._door: Final = doors.open_at(self._path)
        asyncio.get_running_loop().add_reader(self._door, self._visited)

    def close(self) -> None:
        """Shut it, and tell those who wait that the process is local."""
        asyncio.get_running_loop().remove_reader(self._door)
        self._door.close()
        doors.remove(self._path)
        for visitor in self._waiting:
            doors.send(visitor, doors.DETACHED)
            self._leave(visitor)

    def _visited(self) -> None:
        visitor, _ = self._door.accept()
        if doors.peer(visitor)[1] in (os.geteuid(), 0):
            asyncio.get_running_loop().add_reader(visitor, self._told, visitor)
        else:
            visitor.close()

    def _told(self, visitor: socket.socket) -> None:
        match doors.receive(visitor)[0]:
            case [doors.DETACH] if visitor not in self._waiting:
                self._waiting.append(visitor)
                self._end()
                return
            case [doors.SERVE, *_]:
                doors.send(visitor, doors.HELD, os.getpid())
        if visitor in self._waiting:
            self._waiting.remove(visitor)
        self._leave(visitor)

    def _leave(self, visitor: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(visitor)
        visitor.close()
