"""Where the path of a call is: what the kernel resolves, what a mapping has moved, and what is the target's.

A path is what its directory makes it: one that is relative to a remote directory that the program has open,
or is in, is remote, any other relative path is local. A path inside the session's tree, which a program gets
to know through ``/proc``, stands for the remote one.
"""

import errno
import os
import re
from dataclasses import dataclass
from typing import Final

from mirrord.config.paths import Side
from mirrord.dispatch.sockets import descriptor
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.syscall import Call

AT_FDCWD: Final = -100
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE_IN_ROOT: Final = 0x10
_PROC: Final = re.compile(rb"/+proc/+(self|thread-self|\d+)(?:/+task/+\d+)?/+(fd/+\d+|cwd)")
_DEV: Final = re.compile(rb"/+dev/+(?:fd/+(\d+)|std(in|out|err))")
_STANDARD: Final = {b"in": b"0", b"out": b"1", b"err": b"2"}
_DELETED: Final = b" (deleted)"


@dataclass(frozen=True, slots=True)
class Remote:
    """A path that is looked up in the target."""

    path: bytes
    base: bytes | None = None
    """The directory that the path must stay in, by ``resolve``; the path is relative to it."""
    resolve: int = 0
    link: bytes | None = None
    """The placeholder, where the path is a link of ``/proc`` to one that a process has open."""
    relative: bool = False
    """Whether it is remote because of the directory, and not by any rule."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A path of this machine that the kernel would not find under the name that the program gave."""

    path: bytes


class Places:
    """Tells where paths are; on the gate's thread."""

    def __init__(self, world: World) -> None:
        self._paths: Final = world.paths
        self._files: Final[RemoteFiles] = world.files

    def place(
        self, call: Call, directory: int, address: int, *, write: bool = False, resolve: int = 0
    ) -> Remote | Moved | None:
        """Decide where a path is; None for one that the kernel resolves. Raise OSError ENOENT for what must
        not be there.
        """
        path = call.string(address)
        if not path.startswith(b"/") or resolve & (_RESOLVE_BENEATH | _RESOLVE_IN_ROOT):
            return self._relative(call, descriptor(directory), path, resolve)
        decision = self._paths.decide(path, write=write)
        if decision.side is Side.LOCAL:
            if decision.as_asked:
                return self._behind_proc(call, path) if decision.magic else None
            call.require_files()
            return Moved(decision.use)
        call.require_files()
        if decision.side is Side.NOT_FOUND:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return Remote(decision.use, resolve=resolve)

    def current_directory(self, call: Call) -> bytes | None:
        """Return the remote directory that a thread is in, None where it is in a local one."""
        if not self._files.directories_given:
            return None
        return self._files.placeholders.remote_path(call.working_directory())

    def _relative(self, call: Call, directory: int, path: bytes, resolve: int) -> Remote | None:
        base = self._directory(call, directory, path)
        if base is None:
            return None
        call.require_files()
        if resolve & (_RESOLVE_BENEATH | _RESOLVE_IN_ROOT):
            return Remote(path, base, resolve, relative=True)
        return Remote(os.path.join(base, path) if path else base, None, resolve, relative=True)

    def _directory(self, call: Call, directory: int, path: bytes) -> bytes | None:
        if directory == AT_FDCWD:
            return self.current_directory(call) if path else None
        if not self._files.placeholders.in_use:
            return None
        return self._files.placeholders.remote_path(call.descriptor_path(directory))

    def _behind_proc(self, call: Call, path: bytes) -> Remote | None:
        """Look where a link of ``/proc`` leads, as the kernel would for the calling thread."""
        if not self._files.placeholders.in_use:
            return None
        link, rest = _own_link(call, path)
        try:
            local = os.readlink(link)
        except OSError:
            # the kernel knows the errno
            return None
        remote = self._files.placeholders.remote_path(local)
        if remote is None or (local.endswith(_DELETED) and not rest and _has_content(link)):
            return None
        call.require_files()
        if rest:
            return Remote(os.path.join(remote, rest.lstrip(b"/")), relative=True)
        return Remote(remote, link=local, relative=True)


def _own_link(call: Call, path: bytes) -> tuple[bytes, bytes]:
    """Return the link as we see it, and what of the path comes after."""
    if found := _PROC.match(path):
        process = found[1] if found[1].isdigit() else b"%d" % call.tid
        return b"/proc/%s/%s" % (process, found[2]), path[found.end() :]
    found = _DEV.match(path)
    assert found is not None, path
    return b"/proc/%d/fd/%s" % (call.tid, found[1] or _STANDARD[found[2]]), path[found.end() :]


def _has_content(link: bytes) -> bool:
    """Tell whether a file without a name is an old version that was fetched, and not a placeholder only."""
    status = os.stat(link)
    return bool(status.st_blocks or not status.st_size)
