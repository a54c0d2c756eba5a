"""Listing directories, with all that a program asks about their entries, and watching them."""

import errno
import os
import stat
from bisect import bisect_right
from typing import Final

from mirrord_agent import linux
from mirrord_agent.files import Files, as_message, attributes_of
from mirrord_agent.watches import FULL, OUTLINE, Watches
from mirrord_agent.wire.messages import PAGE, Attributes, Entry, Listing

_PAGE_BYTES: Final = 512 * 1024
"""What the entries of one page may take on the wire, about; a frame has 1 MiB."""
_ENTRY_BYTES: Final = 450
_USUAL: Final = (b"security.selinux", b"system.posix_acl_access", b"system.posix_acl_default")
_MOST_BELOW: Final = 256
"""Directories in one that are watched with it."""


class Directories:
    """Lists directories inside the target's root; on the threads of Files."""

    def __init__(self, files: Files, watches: Watches) -> None:
        self._files: Final = files
        self._watches: Final = watches
        self._names: tuple[tuple[int, int, int], list[bytes]] | None = None

    def listing(self, path: bytes, after: bytes | None, only_watched: bool = False) -> Listing:
        """Return one page of a directory; the first one begins to watch it."""
        fd = self._files.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            watch, above = self._watch(fd) if after is None and _may_search(fd) else (None, ())
            attributes = attributes_of(fd, self._files.real(fd, path))
            if after is None and watch is None and only_watched:
                return Listing(attributes=attributes, entries=(), exhausted=self._watches.exhausted)
            names = self._sorted_names(fd, attributes, fresh=after is None)
            begin = 0 if after is None else bisect_right(names, after)
            try:
                entries, end = self._page(fd, attributes, names, begin)
            except PermissionError:
                # it may be read but not searched: names and types are all that there is to know
                page = names[begin : begin + PAGE]
                entries, end, watch, above = _outline(fd, attributes, page), begin + len(page), None, ()
            return Listing(
                attributes=attributes,
                entries=tuple(entries),
                more=end < len(names),
                watch=watch,
                above=above,
                xattrs=_has_xattrs(b"/proc/self/fd/%d" % fd),
                missing=_missing(fd, entries),
                exhausted=watch is None and self._watches.exhausted,
            )
        finally:
            os.close(fd)

    def _watch(self, fd: int) -> tuple[int | None, tuple[int, ...]]:
        """Watch a directory, and that every directory above it goes on to lead to it."""
        path = self._files.path_of(fd)
        if path is None or (watch := self._watches.add(fd, FULL)) is None:
            return None, ()
        above: list[int] = []
        try:
            for end in _ends(path):
                parent = self._files.open(path[:end] or b"/", os.O_RDONLY | os.O_DIRECTORY)
                try:
                    number = self._watches.add(parent, OUTLINE)
                finally:
                    os.close(parent)
                if number is None:
                    return None, ()
                above.append(number)
            again = self._files.open(path, os.O_PATH)
            try:
                same = os.path.samestat(os.fstat(fd), os.fstat(again))
            finally:
                os.close(again)
        except OSError:
            # a directory above may be entered but not read, or has gone meanwhile
            return None, ()
        return (watch, tuple(above)) if same else (None, ())

    def _page(
        self, fd: int, attributes: Attributes, names: list[bytes], begin: int
    ) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        room, below, at = _PAGE_BYTES, 0, begin
        while at < len(names) and len(entries) < PAGE and room > 0:
            entry = self._entry(fd, attributes, names[at], watched=below < _MOST_BELOW)
            at += 1
            if entry is not None:
                below += entry.watch is not None
                room -= _ENTRY_BYTES + 2 * len(entry.name) + 2 * len(entry.target or b"")
                entries.append(entry)
        return entries, at

    def _entry(self, directory: int, parent: Attributes, name: bytes, *, watched: bool) -> Entry | None:
        try:
            found = linux.statx(directory, name, linux.AT_SYMLINK_NOFOLLOW)
            attributes = as_message(found, None)
            here = b"/proc/self/fd/%d/%s" % (directory, name)
            link = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(found.mode) else None
            mounted = found.dev != parent.dev or found.mount_id != parent.mount_id
            is_directory = stat.S_ISDIR(found.mode)
            return Entry(
                name=name,
                attributes=attributes,
                target=link,
                xattrs=_has_xattrs(here, follow=False),
                watch=self._watch_below(directory, name) if is_directory and watched else None,
                steady=is_directory or (not mounted and (found.nlink == 1 or link is not None)),
            )
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _watch_below(self, directory: int, name: bytes) -> int | None:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            return None
        try:
            return self._watches.add(fd, OUTLINE)
        finally:
            os.close(fd)

    def _sorted_names(self, fd: int, attributes: Attributes, *, fresh: bool) -> list[bytes]:
        """Return the names in a directory; later pages of a large one come from the list of its first."""
        key = (attributes.dev, attributes.ino, attributes.mtime_ns)
        known = self._names
        if not fresh and known is not None and known[0] == key:
            return known[1]
        names = sorted(os.fsencode(name) for name in os.listdir(fd))
        self._names = (key, names) if len(names) > PAGE // 4 else None
        return names


def _may_search(directory: int) -> bool:
    """Tell whether entries may be looked at; without that there is nothing to keep up to date."""
    try:
        linux.statx(directory, b".", 0)
    except PermissionError:
        return False
    return True


def _outline(directory: int, parent: Attributes, names: list[bytes]) -> list[Entry]:
    """Return entries of which only the number and the type are known, the rest zero."""
    wanted = frozenset(names)
    with os.scandir(directory) as found:
        entries = {os.fsencode(one.name): one for one in found}
    return [
        Entry(name=name, attributes=_unknown(parent.dev, entries[name]), steady=False)
        for name in sorted(wanted & entries.keys())
    ]


def _unknown(dev: int, entry: "os.DirEntry[str]") -> Attributes:
    return Attributes(
        dev=dev,
        ino=entry.inode(),
        mode=_type(entry),
        nlink=1,
        uid=0,
        gid=0,
        rdev=0,
        size=0,
        blksize=0,
        blocks=0,
        atime_ns=0,
        mtime_ns=0,
        ctime_ns=0,
    )


def _type(entry: "os.DirEntry[str]") -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file(follow_symlinks=False) else stat.S_IFSOCK


def _ends(path: bytes) -> list[int]:
    """Return where each directory above a path ends in it, the root first."""
    return [at for at, byte in enumerate(path) if byte == ord("/")] if path != b"/" else []


def _missing(directory: int, entries: list[Entry]) -> tuple[tuple[int, bytes, int], ...]:
    """Return the errnos of the attributes that ``ls -l`` asks for, by one file of each type without any."""
    examples = {stat.S_IFMT(entry.attributes.mode): entry.name for entry in entries if not entry.xattrs}
    paths = {kind: b"/proc/self/fd/%d/%s" % (directory, name) for kind, name in examples.items()}
    if stat.S_IFDIR not in paths and not _has_xattrs(here := b"/proc/self/fd/%d/." % directory):
        paths[stat.S_IFDIR] = here
    return tuple(
        (kind, name, number)
        for kind, path in paths.items()
        for name in _USUAL
        if (number := _xattr_errno(path, name)) is not None
    )


def _xattr_errno(path: bytes, name: bytes) -> int | None:
    try:
        os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        return error.errno if error.errno in (errno.ENODATA, errno.EOPNOTSUPP) else None
    return None


def _has_xattrs(path: bytes, *, follow: bool = True) -> bool:
    try:
        return bool(os.listxattr(path, follow_symlinks=follow))
    except OSError:
        # what has none, or may not be asked, is asked about by who wants to know why
        return True
