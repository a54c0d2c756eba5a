"""Remote files on this machine: placeholders, and their content once it has been fetched.

Each remote file that was looked at has a *placeholder* in the session's tree, at the same path: its device
and inode numbers are the ones that the program sees, so that ``stat`` and a native ``fstat`` agree on
identity. Opening a file fetches it into its placeholder, once per version of the file. A file that has only
grown goes on in the same placeholder, and who has it open sees that; any other new version gets a new one,
and who has the old one open keeps it.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

from mirrord_agent.wire.messages import (
    Access,
    Attributes,
    Done,
    FileSystem,
    GetFileSystem,
    GetXattr,
    Link,
    ListXattrs,
    ReadLink,
    Stat,
    Value,
)

from mirrord.link.ahead import Ahead
from mirrord.link.ask import LINK_LOST, ask, checked, error
from mirrord.link.cache import Found
from mirrord.link.fetch import Fetches, Wanted
from mirrord.link.following import Following
from mirrord.link.lead import Lead
from mirrord.link.listings import Listings, is_directory
from mirrord.link.placeholders import Identity, Placeholders
from mirrord.link.progress import Tell

__all__ = ["LINK_LOST", "RemoteFiles", "Wanted"]
_DECIDING: Final = os.O_NOFOLLOW | os.O_DIRECTORY | os.O_NOATIME
"""Flags of open(2) that the target decides on."""
_OURS: Final = ~(os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_DIRECT | os.O_NOATIME)
"""Flags that the descriptor of a placeholder may have."""

_MOST_ERRNOS: Final = 1024


def _nothing(_: str) -> None:
    """Say nothing."""


class RemoteFiles:
    """The target's files, by absolute path; for the loop's thread, but for what says otherwise."""

    def __init__(
        self,
        lead: Lead,
        placeholders: Placeholders,
        *,
        inform: Tell = _nothing,
        detail: Tell = _nothing,
        warn: Tell = _nothing,
    ) -> None:
        self.placeholders: Final = placeholders
        self.directories_given: bool = False
        """Whether the program can have a remote directory open, or be in one; from any thread."""
        self.warn: Final = warn
        self._lead: Final = lead
        self._listings: Final = Listings(lead, placeholders, detail=detail)
        self._cache: Final = self._listings.cache
        self._xattr_errnos: Final = self._listings.xattr_errnos
        self._fetches: Final = Fetches(lead, placeholders, inform=inform, warn=warn)
        self._ahead: Final = Ahead(self._cache, self._fetches, placeholders)
        self._following: Final = Following(self._listings, self._fetches, placeholders)

    def watch(self, told: Callable[[bytes, int, bool], None] | None) -> None:
        """Have somebody told of each file that is opened: its path, its size, whether it was here already."""
        self._fetches.watch = told

    # What is known without asking; from any thread.

    def known(self, path: bytes, *, follow: bool) -> tuple[Attributes, Identity] | None:
        """Return a file's attributes and identity if they are known; raise OSError if it is known not to be
        there.
        """
        found = self._cache.find(path, follow=follow)
        if found is None or (attributes := self._cache.attributes(found)) is None:
            return None
        identity = self.placeholders.known_identity(attributes)
        return None if identity is None else (attributes, identity)

    def known_link(self, path: bytes) -> bytes | None:
        """Return what a symbolic link holds if that is known; raise OSError as :meth:`known` does."""
        found = self._cache.find(path, follow=False)
        if found is None:
            return None
        if found.entry is None or found.entry.target is None:
            raise error(errno.EINVAL)
        return found.entry.target

    def is_known_without_xattrs(self, path: bytes, *, follow: bool) -> bool:
        """Tell whether a file is known to have no extended attributes; raise OSError as :meth:`known`."""
        found = self._cache.find(path, follow=follow)
        return found is not None and not found.xattrs

    def known_xattr_errno(self, path: bytes, name: bytes, *, follow: bool) -> int | None:
        """Return the errno of an extended attribute that a file is known not to have; raise OSError as
        :meth:`known` does.

        Which one it is depends on the file system and the kind of file: it is what another one without any
        gave.
        """
        found = self._cache.find(path, follow=follow)
        if found is None or found.xattrs:
            return None
        attributes = found.directory.attributes if found.entry is None else found.entry.attributes
        return None if attributes is None else self._xattr_errnos.get(_kind(attributes, name))

    def require(self, path: bytes, *, follow: bool) -> None:
        """Raise OSError if a file is known not to be there."""
        self._cache.find(path, follow=follow)

    # What may have to be asked.

    async def stat(
        self,
        path: bytes,
        *,
        follow: bool,
        directory: bool = False,
        base: bytes | None = None,
        resolve: int = 0,
    ) -> tuple[Attributes, Identity]:
        """Return a file's attributes and the identity of its placeholder; raise OSError."""
        attributes = None
        if not resolve:
            await self._following.caught_up(path)
            attributes = await self._attributes(checked(path), follow=follow)
        if attributes is None:
            request = Stat(path=checked(path), follow=follow, directory=directory, base=base, resolve=resolve)
            attributes = await ask(self._lead, request, Attributes)
        if directory and not stat.S_ISDIR(attributes.mode):
            raise error(errno.ENOTDIR)
        return attributes, self.placeholders.identity(_joined(base, path), attributes)

    async def _attributes(self, path: bytes, *, follow: bool) -> Attributes | None:
        found = await self._found(path, follow=follow)
        if found is None or (attributes := self._cache.attributes(found)) is None:
            return None
        return attributes if attributes.real else attributes.model_copy(update={"real": found.path})

    async def _found(self, path: bytes, *, follow: bool) -> Found | None:
        """Find a path, having its directory listed if it is not known."""
        found = self._cache.find(path, follow=follow)
        if found is not None:
            return found
        await self._listings.learn(path)
        return self._cache.find(path, follow=follow)

    async def read_link(self, path: bytes) -> bytes:
        """Return what a symbolic link holds; raise OSError."""
        found = await self._found(checked(path), follow=False)
        if found is not None and found.entry is not None and found.entry.target is not None:
            return found.entry.target
        return (await ask(self._lead, ReadLink(path=path), Link)).target

    async def access(self, path: bytes, mode: int, *, follow: bool, effective: bool) -> None:
        """Check what the target may do with a file; raise OSError."""
        found = await self._found(checked(path), follow=follow)
        if mode == os.F_OK and found is not None:
            return
        await ask(self._lead, Access(path=path, mode=mode, follow=follow, effective=effective), Done)

    async def file_system(self, path: bytes) -> FileSystem:
        """Return what the target's file system is like; raise OSError."""
        return await ask(self._lead, GetFileSystem(path=checked(path)), FileSystem)

    async def xattr(self, path: bytes, name: bytes, *, follow: bool) -> bytes:
        """Return an extended attribute; raise OSError."""
        found = await self._found(checked(path), follow=follow)
        if number := self.known_xattr_errno(path, name, follow=follow):
            raise error(number)
        request = GetXattr(path=path, follow=follow, name=name)
        try:
            return (await ask(self._lead, request, Value)).value
        except OSError as failure:
            if found is not None and found.entry is not None and not found.xattrs:
                self._learn_errno(_kind(found.entry.attributes, name), failure.errno or errno.ENODATA)
            raise

    def _learn_errno(self, kind: tuple[int, int, bytes], number: int) -> None:
        if number in (errno.ENODATA, errno.EOPNOTSUPP) and len(self._xattr_errnos) < _MOST_ERRNOS:
            self._xattr_errnos[kind] = number

    async def xattrs(self, path: bytes, *, follow: bool) -> bytes:
        """Return the names of a file's extended attributes, each with a NUL; raise OSError."""
        await self._found(checked(path), follow=follow)
        if self.is_known_without_xattrs(path, follow=follow):
            return b""
        return (await ask(self._lead, ListXattrs(path=path, follow=follow), Value)).value

    async def follow(self, path: bytes, *, follow: bool) -> None:
        """Keep what the program has open in a directory up to date, since it cannot watch it; ``path`` is the
        directory or a file in it. Raise OSError.
        """
        attributes, _ = await self.stat(path, follow=follow)
        real = attributes.real or os.path.normpath(path)
        self._following.begin(real if stat.S_ISDIR(attributes.mode) else os.path.dirname(real))

    # Opening.

    async def open(self, path: bytes, flags: int, *, base: bytes | None = None, resolve: int = 0) -> int:
        """Return a descriptor of its own for a remote file that is here in full, or for the skeleton of a
        directory; raise OSError.
        """
        wanted = Wanted(checked(path), flags & _DECIDING, base, resolve)
        placeholder = None if resolve else await self._here(wanted)
        if placeholder is None:
            placeholder = await self._fetched(wanted)
        self._ahead.opened(wanted)
        return os.open(placeholder, flags & _OURS | os.O_CLOEXEC)

    async def _here(self, wanted: Wanted) -> bytes | None:
        """Return the placeholder of what need not be fetched."""
        follow = not wanted.flags & os.O_NOFOLLOW
        await self._following.caught_up(wanted.path)
        await self._listings.pending(wanted.path)
        found = self._cache.find(wanted.path, follow=follow)
        if wanted.flags & os.O_DIRECTORY and (follow or (found is not None and is_directory(found.entry))):
            return await self._listed(found.path if found is not None else wanted.path)
        if found is None or (attributes := self._cache.attributes(found)) is None:
            return None
        if is_directory(found.entry):
            return await self._directory(found.path)
        if wanted.flags & os.O_DIRECTORY:
            raise error(errno.ENOTDIR)
        if not self.placeholders.has(attributes):
            return None
        self._fetches.tell(wanted.path, attributes.size, here=True)
        return self.placeholders.path(found.path, attributes)

    async def _fetched(self, wanted: Wanted) -> bytes:
        try:
            attributes, placeholder = await self._fetches.get(wanted)
        except OSError as failure:
            if failure.errno == errno.ENOENT and not wanted.resolve:
                self._listings.learn_later(wanted.path)
            elif failure.errno == errno.ENOTSUP:
                self.warn(
                    f"{os.fsdecode(wanted.path)} of the target is no regular file but a device or a pipe, "
                    "which cannot be opened from here"
                )
            raise
        if placeholder is None:
            return await self._directory(attributes.real or _joined(wanted.base, wanted.path))
        return placeholder

    async def _listed(self, path: bytes) -> bytes:
        """Return the skeleton of a directory; where there is none, learn which there are beside it."""
        try:
            return await self._directory(path)
        except FileNotFoundError:
            self._listings.learn_later(path)
            raise

    async def _directory(self, path: bytes) -> bytes:
        self.directories_given = True
        normal = path if b".." in path.split(b"/") else os.path.normpath(path)
        return (await self._listings.skeleton(normal))[0]

    async def locate(
        self, path: bytes, flags: int, *, base: bytes | None = None, resolve: int = 0
    ) -> tuple[int, bytes]:
        """Return a descriptor of a directory of this machine, and a name in it, that stand for a remote file
        which is to be opened with O_PATH: it may have no content, since nobody can read it through that.
        """
        attributes, _ = await self.stat(
            path,
            follow=not flags & os.O_NOFOLLOW,
            directory=bool(flags & os.O_DIRECTORY),
            base=base,
            resolve=resolve,
        )
        placeholder = self.placeholders.path(_joined(base, path), attributes)
        if stat.S_ISDIR(attributes.mode):
            self.directories_given = True
            return _opened_directory(placeholder), b"."
        if not self.placeholders.complete(placeholder):
            self.placeholders.dress(placeholder, attributes)
        parent, name = os.path.split(placeholder)
        return _opened_directory(parent), name

    async def enter(self, path: bytes) -> int:
        """Return a descriptor of the skeleton of a directory that the target may enter; raise OSError."""
        fd, _ = await self.locate(path, os.O_DIRECTORY)
        try:
            await self.access(path, os.X_OK, follow=True, effective=True)
        except OSError:
            os.close(fd)
            raise
        return fd

    async def read(self, path: bytes) -> bytes:
        """Return the content of a small file; raise OSError."""
        fd = await self.open(path, os.O_RDONLY)
        with open(fd, "rb") as stream:
            return stream.read()


def _kind(attributes: Attributes, name: bytes) -> tuple[int, int, bytes]:
    return attributes.dev, stat.S_IFMT(attributes.mode), name


def _opened_directory(path: bytes) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _joined(base: bytes | None, path: bytes) -> bytes:
    return path if base is None else os.path.join(base, path.lstrip(b"/"))
