"""Where the path of a call is: what the kernel resolves, what a mapping has moved, and what is the target's.

A path is what its directory makes it: one that is relative to a remote directory that the program has open,
or is in, is remote, any other relative path is local. A path inside the session's tree, which a program gets
to know through ``/proc``, stands for the remote one.
"""

import errno
import os
import re
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from mirrord.config.paths import Side
from mirrord.dispatch.row import AT_FDCWD
from mirrord.dispatch.sockets import descriptor
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.syscall import CONTINUE, Call, Verdict

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
    opened: bool = False
    """Whether the path was empty: it is what the descriptor has open."""


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
        self,
        call: Call,
        directory: int,
        address: int,
        *,
        write: bool = False,
        resolve: int = 0,
        empty: bool = False,
    ) -> Remote | Moved | None:
        """Decide where a path is; None for one that the kernel resolves. Raise OSError ENOENT for what must
        not be there.

        An ``empty`` path is the directory itself; without that it is left to the kernel, which has ENOENT for
        it.
        """
        path = call.string(address)
        if not path:
            return self._relative(call, descriptor(directory), path, resolve) if empty else None
        if path.startswith(b"/") and resolve & _RESOLVE_BENEATH:
            # EXDEV, whatever the directory is (``path_init``, fs/namei.c)
            return None
        if not path.startswith(b"/") or resolve & (_RESOLVE_BENEATH | _RESOLVE_IN_ROOT):
            return self._relative(call, descriptor(directory), path, resolve)
        decision = self._paths.decide(path, write=write)
        if decision.side is Side.LOCAL:
            if decision.as_asked:
                return self._behind_proc(call, path) if decision.magic else None
            call.require_files()
            call.require_user()
            if call.watched:
                call.here(address, decision.use)
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

    def opened(self, call: Call, argument: int, *, for_use: bool = True) -> bytes | None:
        """Return the remote path of what a descriptor has open, None where that is local.

        What is open as a place only (O_PATH) is left to the kernel, unless it is not ``for_use``. Raise
        OSError EBADF.
        """
        if not self._files.placeholders.in_use:
            return None
        number = descriptor(argument)
        path = self._files.placeholders.remote_path(call.descriptor_path(number))
        return None if path is None or (for_use and _is_place_only(call, number)) else path

    def _relative(self, call: Call, directory: int, path: bytes, resolve: int) -> Remote | None:
        base = self._directory(call, directory)
        if base is None:
            return None
        call.require_files()
        if not path:
            return Remote(base, relative=True, opened=True)
        if resolve & (_RESOLVE_BENEATH | _RESOLVE_IN_ROOT):
            return Remote(path, base, resolve, relative=True)
        return Remote(os.path.join(base, path), None, resolve, relative=True)

    def _directory(self, call: Call, directory: int) -> bytes | None:
        if directory == AT_FDCWD:
            return self.current_directory(call)
        return self.opened(call, directory, for_use=False)

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


async def while_it_has_a_path(answer: Callable[[], Awaitable[Verdict]]) -> Verdict:
    """Answer about what is open by its path; what has none any more is left to the kernel, which looks at the
    placeholder.
    """
    try:
        return await answer()
    except (FileNotFoundError, NotADirectoryError):
        return CONTINUE


def seen_from_here(call: Call, directory: int, path: bytes) -> bytes:
    """Return a local path of the program under a name by which we find the same."""
    if path.startswith(b"/"):
        return b"".join(_own_link(call, path)) if _PROC.match(path) or _DEV.match(path) else path
    number = descriptor(directory)
    base = b"cwd" if number == AT_FDCWD else b"fd/%d" % number
    return b"/proc/%d/%s" % (call.tid, base) + (b"/" + path if path else b"")


def _is_place_only(call: Call, number: int) -> bool:
    """Tell whether a descriptor can neither read nor write: its link in ``/proc`` has no rights
    (``tid_fd_update_inode``, fs/proc/fd.c).
    """
    return not stat.S_IMODE(os.lstat(b"/proc/%d/fd/%d" % (call.tid, number)).st_mode)


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
