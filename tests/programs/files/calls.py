"""Makes the file calls that each line of its input says, and prints what each gave.

A line is a JSON list of calls, each ``[name, argument, …]``. A path is latin-1 text for bytes; a directory is
null for the current one, or the number of an earlier call that opened it. The answer is a JSON list: what the
call gave, or ``{"errno": NAME}``.
"""

import ctypes
import errno
import json
import os
import platform
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = {
    "x86_64": {"openat": 257, "newfstatat": 262, "readlinkat": 267, "getcwd": 79, "statfs": 137},
    "aarch64": {"openat": 56, "newfstatat": 79, "readlinkat": 78, "getcwd": 17, "statfs": 43},
}[platform.machine()] | {"openat2": 437, "faccessat2": 439}
MODE = struct.Struct({"x86_64": "=24xI", "aarch64": "=16xI"}[platform.machine()])
"""The mode in a ``struct stat``."""
AT_FDCWD = -100
START = "/app"


def syscall(name: str, *arguments: object) -> int:
    result: int = libc.syscall(NUMBERS[name], *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


class Calls:
    """One sequence of calls, and the descriptors that it has opened."""

    def __init__(self) -> None:
        self.opened: dict[int, int] = {}
        self.number = 0

    def run(self, name: str, arguments: list[object]) -> object:
        try:
            return getattr(self, name)(*arguments)
        except OSError as error:
            return {"errno": errno.errorcode[error.errno or 0]}

    def close(self) -> None:
        for fd in self.opened.values():
            os.close(fd)
        os.chdir(START)

    def fd(self, which: int | None) -> int:
        return AT_FDCWD if which is None else self.opened.get(which, 9999)

    def open(self, directory: int | None, path: str, flags: int) -> object:
        fd = syscall("openat", self.fd(directory), path.encode("latin-1"), flags | os.O_CLOEXEC, 0o644)
        self.opened[self.number] = fd
        return oct(os.fstat(fd).st_mode)

    def openat2(self, directory: int | None, path: str, flags: int, mode: int, resolve: int) -> object:
        how = b"".join(part.to_bytes(8, "little") for part in (flags | os.O_CLOEXEC, mode, resolve))
        fd = syscall("openat2", self.fd(directory), path.encode("latin-1"), how, len(how))
        self.opened[self.number] = fd
        return oct(os.fstat(fd).st_mode)

    def reopen(self, which: int, flags: int) -> object:
        fd = os.open(f"/proc/self/fd/{self.fd(which)}", flags | os.O_CLOEXEC)
        self.opened[self.number] = fd
        return oct(os.fstat(fd).st_mode)

    def pread(self, which: int, size: int, offset: int) -> object:
        return os.pread(self.fd(which), size, offset).decode("latin-1")

    def list(self, which: int) -> object:
        # a descriptor of its own, so that the place in the directory is always the start
        return sorted(os.fsencode(name).decode("latin-1") for name in os.listdir(self.fd(which)))

    def types(self, which: int) -> object:
        with os.scandir(self.fd(which)) as entries:
            return sorted(
                (
                    entry.name.encode("utf-8", "surrogateescape").decode("latin-1"),
                    entry.is_symlink(),
                    entry.is_dir(follow_symlinks=False),
                )
                for entry in entries
            )

    def stat(self, directory: int | None, path: str, follow: bool) -> object:
        at = None if directory is None else self.fd(directory)
        found = os.stat(path.encode("latin-1"), dir_fd=at, follow_symlinks=follow)
        return [
            oct(found.st_mode),
            found.st_size,
            found.st_nlink,
            found.st_uid,
            found.st_gid,
            found.st_mtime_ns,
        ]

    def look(self, directory: int | None, path: str, flags: int) -> object:
        """Look by the call itself: what a path may be is among its flags."""
        buffer = ctypes.create_string_buffer(256)
        syscall("newfstatat", self.fd(directory), path.encode("latin-1"), buffer, flags)
        return MODE.unpack_from(buffer)[0]

    def check(self, directory: int | None, path: str, mode: int, flags: int) -> object:
        return syscall("faccessat2", self.fd(directory), path.encode("latin-1"), mode, flags)

    def fxattr(self, which: int, name: str) -> object:
        return os.getxattr(self.fd(which), name).decode("latin-1")

    def fxattrs(self, which: int) -> object:
        return sorted(os.listxattr(self.fd(which)))

    def fstatfs(self, which: int) -> object:
        return os.fstatvfs(self.fd(which))[:2]

    def same(self, directory: int | None, path: str) -> object:
        """Tell whether an open file is the one that stat tells of."""
        at = None if directory is None else self.fd(directory)
        fd = os.open(path.encode("latin-1"), os.O_RDONLY, dir_fd=at)
        try:
            return os.path.samestat(os.fstat(fd), os.stat(path.encode("latin-1"), dir_fd=at))
        finally:
            os.close(fd)

    def access(self, directory: int | None, path: str, mode: int, effective: bool, follow: bool) -> object:
        at = None if directory is None else self.fd(directory)
        return os.access(
            path.encode("latin-1"), mode, dir_fd=at, effective_ids=effective, follow_symlinks=follow
        )

    def readlink(self, directory: int | None, path: str, room: int) -> object:
        buffer = ctypes.create_string_buffer(b"\x07" * 64, 64)
        length = syscall("readlinkat", self.fd(directory), path.encode("latin-1"), buffer, room)
        return [length, buffer.raw.decode("latin-1")]

    def chdir(self, path: str) -> object:
        os.chdir(path.encode("latin-1"))
        return os.getcwdb().decode("latin-1")

    def fchdir(self, which: int) -> object:
        os.fchdir(self.fd(which))
        return os.getcwdb().decode("latin-1")

    def getcwd(self, room: int) -> object:
        buffer = ctypes.create_string_buffer(4096)
        length = syscall("getcwd", buffer, room)
        return [length, buffer.value.decode("latin-1")]

    def link(self, which: int) -> object:
        return os.readlink(f"/proc/self/fd/{self.fd(which)}".encode()).decode("latin-1")

    def statfs(self, path: str) -> object:
        buffer = ctypes.create_string_buffer(120)
        syscall("statfs", path.encode("latin-1"), buffer)
        return int.from_bytes(buffer.raw[:8], "little")

    def xattr(self, path: str, name: str, follow: bool) -> object:
        return os.getxattr(path.encode("latin-1"), name, follow_symlinks=follow).decode("latin-1")

    def xattrs(self, path: str, follow: bool) -> object:
        return sorted(os.listxattr(path.encode("latin-1"), follow_symlinks=follow))

    def bad(self, name: str, path: str | None, pointer: int) -> object:
        """Make a call with a pointer that leads nowhere."""
        where = ctypes.c_void_p(pointer) if path is None else path.encode("latin-1")
        buffer = ctypes.c_void_p(pointer)
        if name == "openat":
            return syscall(name, AT_FDCWD, where, 0, 0)
        if name == "newfstatat":
            return syscall(name, AT_FDCWD, where, buffer, 0)
        if name == "readlinkat":
            return syscall(name, AT_FDCWD, where, buffer, 10)
        return syscall(name, where, buffer)


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        calls = Calls()
        results = []
        for number, (name, *arguments) in enumerate(json.loads(line)):
            calls.number = number
            results.append(calls.run(name, arguments))
        calls.close()
        print(json.dumps(results), flush=True)


os.chdir(START)
main()
