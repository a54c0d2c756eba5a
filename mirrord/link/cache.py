"""What is known of the target's directories, for as long as the agent watches them.

A directory is known by its canonical path, in which no component is a link. Its listing is kept until the
agent says that it has changed; so a name that is not in it is known not to exist. A change makes a name
*unknown* until the directory is listed again: only listings bring knowledge, so that no answer that was
under way can be older than the change that it missed.

Written on the loop's thread only. :meth:`Cache.find` is for any thread: what it reads are single
dictionaries, whose entries are replaced and never changed.
"""

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mirrord_agent.wire.messages import Attributes, Changed, Entry, Listing

MOST_ENTRIES: Final = 50_000
"""Entries kept, some 50 MB; the directories listed longest ago go first."""
_MOST_LINKS: Final = 40
"""Symbolic links that the kernel follows in one path (path_resolution(7))."""
_NAME_MAX: Final = 255
_UNKNOWN: Final = None


@dataclass(slots=True, eq=False)
class Directory:
    """One directory that is watched."""

    path: bytes
    watch: int
    above: tuple[int, ...]
    attributes: Attributes | None
    xattrs: bool = True
    names: dict[bytes, Entry | None] = field(default_factory=dict)
    """None for a name that has changed since."""
    complete: bool = False
    """Whether a name that is not in ``names`` does not exist."""
    in_step: bool = False
    """Whether the skeleton holds a placeholder for each name, and nothing else."""

    def child(self, name: bytes) -> bytes:
        """Return the path of an entry."""
        return (b"" if self.path == b"/" else self.path) + b"/" + name

    def watches(self) -> set[int]:
        """Return the numbers of all watches that what is known here depends on."""
        below = {
            entry.watch for entry in self.names.values() if entry is not None and entry.watch is not None
        }
        return {self.watch, *self.above, *below}


class Found(NamedTuple):
    """Where a path leads to: an entry of a known directory, or that itself where ``entry`` is None."""

    directory: Directory
    name: bytes
    entry: Entry | None

    @property
    def path(self) -> bytes:
        """The canonical path."""
        return self.directory.path if self.entry is None else self.directory.child(self.name)

    @property
    def xattrs(self) -> bool:
        """Whether it may have extended attributes."""
        return self.directory.xattrs if self.entry is None else self.entry.xattrs or not self.entry.steady


class Cache:
    """The directories that are known."""

    def __init__(self) -> None:
        self.directories: Final[dict[bytes, Directory]] = {}
        self._by_watch: Final[dict[int, set[Directory]]] = {}
        """The directories that depend on each watch."""
        self._unused: Final[set[int]] = set()
        self._listing: int = 0
        self._early: Final[list[Changed]] = []
        """Changes told while a listing is under way: they may concern what it brings."""

    def find(self, path: bytes, *, follow: bool) -> Found | None:
        """Walk an absolute path as the target's kernel would, None where that leads beyond what is known.

        Raise OSError with the errno that is known to be the target's.
        """
        parts = [part for part in path.split(b"/") if part and part != b"."]
        folder = path.endswith((b"/", b"/."))
        for _ in range(_MOST_LINKS + 1):
            directory, depth = self._deepest(parts)
            if directory is None:
                return None
            if depth == len(parts):
                return Found(directory, b"", None)
            name = parts[depth]
            if name == b"..":
                del parts[max(depth - 1, 0) : depth + 1]
                continue
            if len(name) > _NAME_MAX:
                return None
            entry = directory.names.get(name, _UNKNOWN)
            if entry is None:
                if directory.complete and name not in directory.names:
                    raise _error(errno.ENOENT)
                return None
            last = depth == len(parts) - 1
            if entry.target is not None and (follow or folder or not last):
                target = [part for part in entry.target.split(b"/") if part and part != b"."]
                start = [] if entry.target.startswith(b"/") else parts[:depth]
                folder = folder or (last and entry.target.endswith((b"/", b"/.")))
                parts = start + target + parts[depth + 1 :]
                continue
            if not stat.S_ISDIR(entry.attributes.mode) and (folder or not last):
                raise _error(errno.ENOTDIR)
            return Found(directory, name, entry) if last else None
        raise _error(errno.ELOOP)

    def _deepest(self, parts: list[bytes]) -> tuple[Directory | None, int]:
        """Return the deepest known directory that a path goes through before any ``..``, and its depth."""
        end = parts.index(b"..") if b".." in parts else len(parts)
        for depth in range(end, -1, -1):
            if (directory := self.directories.get(b"/" + b"/".join(parts[:depth]))) is not None:
                return directory, depth
        return None, 0

    def attributes(self, found: Found) -> Attributes | None:
        """Return the attributes of what was found, None where they have to be asked for."""
        if found.entry is None:
            return found.directory.attributes
        if not stat.S_ISDIR(found.entry.attributes.mode):
            return found.entry.attributes if found.entry.steady else None
        own = self.directories.get(found.path)
        if own is not None:
            return own.attributes
        return found.entry.attributes if found.entry.watch is not None else None

    # The following are for the loop's thread.

    def begin(self) -> None:
        """Note that a listing has been asked for."""
        self._listing += 1

    def end(self) -> None:
        """Note that a listing has been taken, or failed."""
        self._listing -= 1
        if not self._listing:
            self._early.clear()

    def take(self, path: bytes, listing: Listing) -> Directory | None:
        """Keep the first page of a directory; return None where it is not watched."""
        self.drop(path)
        if listing.watch is None:
            return None
        directory = Directory(path, listing.watch, listing.above, listing.attributes, listing.xattrs)
        self._add(directory, listing)
        self.directories[path] = directory
        for change in self._early:
            self.changed(change)
        self._shrink(directory)
        return directory if self.directories.get(path) is directory else None

    def go_on(self, directory: Directory, listing: Listing) -> None:
        """Keep a later page."""
        if self.directories.get(directory.path) is directory:
            self._add(directory, listing)
            for change in self._early:
                self.changed(change)
            self._shrink(directory)

    def _add(self, directory: Directory, listing: Listing) -> None:
        before = directory.watches() if directory.names else set()
        for entry in listing.entries:
            # a name that changed since the first page stays unknown
            directory.names.setdefault(entry.name, entry)
        directory.complete = not listing.more
        for number in directory.watches() - before:
            self._by_watch.setdefault(number, set()).add(directory)
            self._unused.discard(number)

    def _shrink(self, spared: Directory) -> None:
        total = sum(len(directory.names) for directory in self.directories.values())
        for path in list(self.directories):
            if total <= MOST_ENTRIES:
                return
            if self.directories[path] is not spared:
                total -= len(self.directories[path].names)
                self.drop(path)

    def drop(self, path: bytes) -> None:
        """Forget a directory."""
        directory = self.directories.pop(path, None)
        if directory is not None:
            self._release(directory)

    def _release(self, directory: Directory) -> None:
        for number, users in list(self._by_watch.items()):
            if directory in users:
                users.discard(directory)
                if not users:
                    del self._by_watch[number]
                    self._unused.add(number)

    def unused(self) -> tuple[int, ...]:
        """Return, once, the watches that nothing depends on any more."""
        numbers = tuple(self._unused)
        self._unused.clear()
        return numbers

    def clear(self) -> None:
        """Forget everything."""
        for path in list(self.directories):
            self.drop(path)

    def reset(self) -> None:
        """Forget everything, the watches too: they were another agent's."""
        self.clear()
        self._unused.clear()
        self._early.clear()

    def changed(self, change: Changed) -> set[bytes]:
        """Take note of a change; return the directories whose entries it concerns."""
        if self._listing and change not in self._early:
            self._early.append(change)
        if change.watch < 0:
            concerned = set(self.directories)
            self.clear()
            return concerned
        directories = list(self._by_watch.get(change.watch, ()))
        for directory in directories:
            self._change(directory, change)
        return {directory.path for directory in directories if directory.watch == change.watch}

    def _change(self, directory: Directory, change: Changed) -> None:
        if directory.watch == change.watch:
            if change.name is None:
                self.drop(directory.path)
                return
            directory.names[change.name] = _UNKNOWN
            directory.in_step = False
            if change.names:
                directory.attributes = None
        elif change.watch in directory.above:
            depth = directory.above.index(change.watch)
            if change.name in (None, directory.path.split(b"/")[depth + 1]):
                self.drop(directory.path)
        elif change.names or change.name is None:
            self._change_below(directory, change.watch)

    def _change_below(self, directory: Directory, watch: int) -> None:
        """Something came or went in a directory of this one: only that one's attributes have changed."""
        for name, entry in list(directory.names.items()):
            if entry is not None and entry.watch == watch:
                directory.names[name] = entry.model_copy(update={"watch": None})


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
