"""A world with a few remote files, some of them open: what the tests of the files plane play on."""

import errno
import os
from typing import Any, Final

from mirrord_agent.wire.messages import (
    Access,
    Attributes,
    Done,
    Failed,
    FileSystem,
    GetFileSystem,
    GetXattr,
    Link,
    ListXattrs,
    ReadLink,
    Reply,
    Request,
    Stat,
    Value,
)

from mirrord.dispatch.table import rows_of
from mirrord.syscall import Verdict, Wait

from ..link.agent import attributes
from .fakes import FakeCall, Theatre

DIRECTORY: Final = b"/srv/dir"
FILE: Final = b"/srv/dir/file"
LINK: Final = b"/srv/dir/link"
NOWHERE: Final = b"/srv/dir/none"
LOCAL: Final = b"/usr/bin/env"
FILES: Final = {
    b"/srv": attributes(ino=1, mode=0o40755),
    DIRECTORY: attributes(ino=2, mode=0o40755),
    FILE: attributes(ino=3, mode=0o100640),
    LINK: attributes(ino=4, mode=0o120777),
}
SYSTEM: Final = FileSystem(
    kind=0xEF53,
    bsize=4096,
    blocks=10,
    bfree=5,
    bavail=4,
    files=3,
    ffree=2,
    fsid=(1, 2),
    namelen=255,
    frsize=4096,
    flags=0,
)
COLOR: Final = b"user.color"


class RemoteWorld:
    """A directory, a file that has a color, and a link are open, and a local file."""

    def __init__(self, theatre: Theatre, **fs: Any) -> None:
        self.stage: Final = theatre.stage({"fs": fs} if fs else None, agent=True)
        self.files: Final = dict(FILES)
        self.stage.agent.answer = self._answer
        self._opened: Final[list[int]] = []
        self.call: Final = FakeCall()
        self._handlers: Final = {
            row.rule.syscall: row.handler for row in rows_of(self.stage.world) if row.handler is not None
        }
        self.directory = self.open(DIRECTORY)
        self.file = self.open(FILE)
        self.place_of_file = self.open(FILE, os.O_PATH)
        self.link = self.open(LINK, os.O_PATH | os.O_NOFOLLOW)
        self.local = self._note(os.open(LOCAL, os.O_RDONLY), LOCAL)

    def open(self, path: bytes, flags: int = os.O_RDONLY) -> int:
        """Return a descriptor of a placeholder, as the program would have it."""
        files = self.stage.world.files
        self.stage.loop.run_until_complete(files.stat(path, follow=False))
        files.directories_given = True
        placeholder = files.placeholders.root + path
        return self._note(os.open(placeholder, flags), placeholder)

    def _note(self, fd: int, path: bytes) -> int:
        self._opened.append(fd)
        self.call.paths[fd] = path
        return fd

    def enter(self, path: bytes) -> None:
        """Let the program be in a remote directory."""
        self.call.cwd = self.stage.world.files.placeholders.root + path

    def decide(self, name: str, *arguments: int | bytes) -> Verdict:
        """Return what becomes of a call; bytes are paths or names in the program's memory."""
        numbers = (
            self.call.place(argument + b"\0") if isinstance(argument, bytes) else argument
            for argument in arguments
        )
        verdict = self._handlers[name](self.call.called(*numbers))
        return self.stage.run(verdict) if isinstance(verdict, Wait) else verdict

    def close(self) -> None:
        """Close what is open."""
        for fd in self._opened:
            os.close(fd)

    def _answer(self, request: Request) -> Reply | None:
        match request:
            case Stat(path=path):
                return self.about(path)
            case Access(path=path):
                found = self.about(path)
                return Done() if isinstance(found, Attributes) else found
            case ReadLink(path=path):
                return Link(target=b"../x") if path == LINK else Failed(errno=errno.EINVAL)
            case GetFileSystem(path=path):
                found = self.about(path)
                return SYSTEM if isinstance(found, Attributes) else found
            case GetXattr(path=path, name=name):
                known = path == FILE and name == COLOR
                return Value(value=b"blue") if known else Failed(errno=errno.ENODATA)
            case ListXattrs(path=path):
                return Value(value=COLOR + b"\0" if path == FILE else b"")
        return None

    def about(self, path: bytes) -> Attributes | Failed:
        """Return what the target says of a file."""
        found = self.files.get(os.path.normpath(path))
        return Failed(errno=errno.ENOENT) if found is None else found
