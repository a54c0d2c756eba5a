"""What a process that is attached to is, and where it runs."""

import os
from collections.abc import Callable, Iterator

from mirrord.errors import AttachError
from mirrord.session.worlds import Surroundings, name_servers


def surroundings_of(pid: int, processes: Callable[[], Iterator[int]]) -> Surroundings:
    """Look at a process; ``processes`` tells which have its sockets. Raises AttachError when it has ended."""
    try:
        return _read(pid, processes)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise AttachError(f"process {pid} has ended meanwhile") from error


def _read(pid: int, processes: Callable[[], Iterator[int]]) -> Surroundings:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as stream:
        words = stream.read().split("\0")[1:-1]
    with open(f"/proc/{pid}/environ", encoding="utf-8", errors="surrogateescape") as stream:
        pairs = (text.partition("=") for text in stream.read().split("\0"))
        environment = {name: value for name, _, value in pairs if name}
    return Surroundings(
        (os.readlink(f"/proc/{pid}/exe"), *words),
        cwd=os.readlink(os.fsencode(f"/proc/{pid}/cwd")),
        environment=environment,
        processes=processes,
        name_servers=_local_name_servers(),
    )


def _local_name_servers() -> tuple[str, ...]:
    try:
        with open("/etc/resolv.conf", "rb") as stream:
            return name_servers(stream.read())
    except OSError:
        # without one, resolvers ask this machine itself (resolv.conf(5))
        return ("127.0.0.1",)
