"""The session's tree: local files that stand for remote ones, at the same paths below its root."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from mirrord_agent.wire.messages import Attributes, Version

from mirrord.link.placeholder import dress, make, same_type
from mirrord.link.space import Space

_Key = tuple[int, int, int]
"""Device and inode number of a remote file; a directory may be mounted at several places, which differ in the
third.
"""


class Identity(NamedTuple):
    """What tells a file from every other on this machine."""

    dev: int
    ino: int


@dataclass(slots=True)
class Content:
    """What a placeholder has been filled with."""

    version: Version
    settled: bool
    """Whether a later version would differ."""
    digest: "hashlib.blake2b"
    size: int


class Placeholders:
    """Makes placeholders; hard links of one remote file share one."""

    def __init__(self, root: str, *, space: int | None = None) -> None:
        """``space`` is how many bytes of content there may be at once."""
        self.root: Final = os.fsencode(root)
        self._names: Final[dict[_Key, list[bytes]]] = {}
        """Where the placeholder of a remote file is; the last name is the one used last."""
        self._files: Final[dict[bytes, _Key]] = {}
        """Whose placeholder is at a local path."""
        self._content: Final[dict[_Key, Content]] = {}
        self._asked: Final[dict[bytes, _Key]] = {}
        """What a remote path led to when it was opened."""
        self._root_key: _Key | None = None
        self._root: Final = os.geteuid() == 0
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        self.space: Final = Space(self.root, space)

    @property
    def in_use(self) -> bool:
        """Whether there is any placeholder; from any thread."""
        return bool(self._names)

    def identity(self, path: bytes, attributes: Attributes) -> Identity:
        """Return the identity that a remote file has here."""
        status = os.lstat(self.path(path, attributes))
        return Identity(status.st_dev, status.st_ino)

    def known_identity(self, attributes: Attributes) -> Identity | None:
        """Return the identity of a file that has a placeholder already; from any thread."""
        names = self._names.get(_key(attributes))
        if not names:
            return None
        try:
            status = os.lstat(names[-1])
        except OSError:
            # another thread has just made it anew, or given it another name
            return None
        return Identity(status.st_dev, status.st_ino)

    def path(self, path: bytes, attributes: Attributes) -> bytes:
        """Return the placeholder of a remote file, made if it has none, at its canonical path."""
        key = _key(attributes)
        wanted = self._local(attributes.real or path)
        names = self._names.get(key)
        if names is not None:
            known = names[-1]
            if same_type(known, attributes.mode):
                return known if known == wanted else self._also(key, known, wanted, attributes)
            for name in list(names):
                self._forget(name)
        self._clear(wanted, directory=stat.S_ISDIR(attributes.mode))
        make(wanted, attributes)
        self._note(key, wanted)
        self.dress(wanted, attributes)
        return wanted

    def _also(self, key: _Key, known: bytes, wanted: bytes, attributes: Attributes) -> bytes:
        """Give a placeholder another name: a hard link, or a name that the remote file has got since."""
        if self._files.get(wanted) == key and os.path.lexists(wanted):
            return wanted
        if stat.S_ISDIR(attributes.mode):
            if wanted.startswith(known + b"/") or known == self.root:
                return known
            self._clear(wanted, directory=False)
            os.rename(known, wanted)
            self._moved(known, wanted)
            return wanted
        self._clear(wanted, directory=False)
        os.link(known, wanted, follow_symlinks=False)
        self._note(key, wanted)
        return wanted

    def _moved(self, before: bytes, after: bytes) -> None:
        for name in [name for name in self._files if name == before or name.startswith(before + b"/")]:
            key = self._files.pop(name)
            self._names[key].remove(name)
            self._note(key, after + name[len(before) :])

    def arrange(self, directory: bytes, names: Iterable[bytes]) -> None:
        """Remove from a skeleton what the remote directory does not have; ``directory`` is a placeholder."""
        wanted = set(names)
        for name in os.listdir(directory):
            if name not in wanted:
                self._remove(os.path.join(directory, name))

    # Content.

    def content(self, path: bytes) -> Content | None:
        """Return what is here in full of the file that this path led to when it was last opened, or seen."""
        key = self._asked.get(path) or self._files.get(self._local(path))
        return None if key is None else self._content.get(key)

    def has(self, attributes: Attributes) -> bool:
        """Tell whether a remote file is here in full, in this version."""
        content = self._content.get(_key(attributes))
        return content is not None and content.settled and content.version == attributes.version()

    def is_old(self, attributes: Attributes) -> bool:
        """Tell whether a remote file is here in an earlier version."""
        content = self._content.get(_key(attributes))
        return content is not None and content.version != attributes.version()

    def complete(self, placeholder: bytes) -> bool:
        """Tell whether a placeholder holds all of its file; from any thread."""
        key = self._files.get(placeholder)
        return key is not None and key in self._content

    def asked(self, path: bytes, attributes: Attributes) -> None:
        """Note what a path leads to."""
        self._asked[path] = _key(attributes)

    def filled(self, attributes: Attributes, content: Content) -> None:
        """Note that the placeholder of a file now has its content."""
        key = _key(attributes)
        self._content[key] = content
        self.space.holds(self._names[key][-1], content.size)

    def empty(self, path: bytes, attributes: Attributes) -> bytes:
        """Return a placeholder that nobody has read yet, to be filled."""
        placeholder = self.path(path, attributes)
        key = _key(attributes)
        if self._content.pop(key, None) is not None:
            # an earlier version was fetched, and may be open: that file stays as it is, under no name
            self.space.lets_go(placeholder)
            self._renew(key, attributes)
        os.chmod(placeholder, 0o600)
        os.truncate(placeholder, 0)
        return placeholder

    def _renew(self, key: _Key, attributes: Attributes) -> None:
        first, *others = self._names[key]
        os.unlink(first)
        make(first, attributes)
        for other in others:
            os.unlink(other)
            os.link(first, other)

    def make_room(self, size: int) -> None:
        """Find room for so many bytes more; raise OSError ENOSPC where there is none."""
        for placeholder in self.space.must_go(size):
            key = self._files.get(placeholder)
            if key is not None:
                self._content.pop(key, None)

    def dress(self, placeholder: bytes, attributes: Attributes) -> None:
        """Give a placeholder the owner, mode, size and times of its remote file."""
        dress(placeholder, attributes, complete=self.complete(placeholder), root=self._root)

    def remote_path(self, local: bytes) -> bytes | None:
        """Return the remote path that a path inside the tree stands for, None for any other; from any
        thread.
        """
        if local == self.root:
            return b"/"
        return local[len(self.root) :] if local.startswith(self.root + b"/") else None

    # Names.

    def _local(self, path: bytes) -> bytes:
        normal = os.path.normpath(b"/" + path.lstrip(b"/"))
        return self.root if normal == b"/" else self.root + normal

    def _note(self, key: _Key, placeholder: bytes) -> None:
        names = self._names.setdefault(key, [])
        if placeholder in names:
            names.remove(placeholder)
        names.append(placeholder)
        self._files[placeholder] = key

    def _clear(self, placeholder: bytes, *, directory: bool) -> None:
        """Free a name for a placeholder, its parents made; what a changed remote tree has left in the way
        goes.
        """
        parent = os.path.dirname(placeholder)
        try:
            os.makedirs(parent, mode=0o700, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError):
            # the last where a symbolic link is in the way, which leads nowhere
            self._clear_the_way(parent)
            os.makedirs(parent, mode=0o700, exist_ok=True)
        if directory and os.path.isdir(placeholder) and not os.path.islink(placeholder):
            self._forget(placeholder)
        else:
            self._remove(placeholder)

    def _remove(self, placeholder: bytes) -> None:
        try:
            os.unlink(placeholder)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            shutil.rmtree(placeholder)
            for name in [name for name in self._files if name.startswith(placeholder + b"/")]:
                self._forget(name)
        self._forget(placeholder)

    def _forget(self, placeholder: bytes) -> None:
        """Forget a name: its file has another one by now, or is gone."""
        key = self._files.pop(placeholder, None)
        if key is None:
            return
        names = self._names[key]
        names.remove(placeholder)
        self.space.lets_go(placeholder)
        if not names:
            del self._names[key]
            self._content.pop(key, None)

    def _clear_the_way(self, directory: bytes) -> None:
        while len(directory) > len(self.root):
            if os.path.lexists(directory) and (os.path.islink(directory) or not os.path.isdir(directory)):
                self._remove(directory)
                return
            directory = os.path.dirname(directory)


def _key(attributes: Attributes) -> _Key:
    mounted = attributes.mount_id or 0 if stat.S_ISDIR(attributes.mode) else 0
    return attributes.dev, attributes.ino, mounted
