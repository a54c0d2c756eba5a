"""Write docs/syscalls.md: what becomes of each system call, out of the table that the sessions run by.

Run as ``python docs/make_syscalls.py``; a test checks that the page is up to date.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from mirrord.dispatch import endpoints, files, incoming, names, outgoing, process, receive, send
from mirrord.dispatch.row import Row
from mirrord.syscall import CONTINUE

PAGE: Final = Path(__file__).parent / "syscalls.md"
_HEAD: Final = """\
# System calls

Made from the code by `docs/make_syscalls.py`. A call that is not in this table is never trapped. One that is
trapped and turns out to be local is continued: the kernel runs it as the program made it. A local path that
`feature.fs.mapping` has moved is the exception: mirrord makes the call, under the mapped name. The calls of
Linux 6.13 and 6.17 on extended attributes and on what `lsattr` shows fail with ENOSYS (38) for all files, as
on an older kernel: C libraries and tools then use the older calls, which know remote files.

| call | plane | trapped | what becomes of it |
| --- | --- | --- | --- |
"""


def page() -> str:
    """Return the text of the page."""
    world: Any = SimpleNamespace(
        hostname=b"",
        ipv6=False,
        paths=SimpleNamespace(active=True),
        files=None,
        connections=None,
        datagrams=None,
        unix=None,
        incoming=None,
        incoming_rules=SimpleNamespace(enabled=True),
        bound=None,
        forget_thread=None,
        forget_threads=None,
        returning_from_signal=_returning,
    )
    planes = (
        ("process", process.Process(world)),
        ("names", names.Names(world)),
        ("all sockets", endpoints.Endpoints(world)),
        ("incoming", incoming.Incoming(world)),
        ("outgoing, streams", outgoing.Outgoing(world)),
        ("outgoing, datagrams", send.Send(world, outgoing.Outgoing(world))),
        ("outgoing, datagrams", receive.Receive(world)),
        ("files", files.Files(world)),
    )
    return _HEAD + "".join(_line(name, row) for name, plane in planes for row in plane.rows())


def _returning(_: object) -> Any:
    """Repeat a call that a signal ended before it was received (x86_64)."""
    return CONTINUE


def _line(plane: str, row: Row) -> str:
    tests = " and ".join(
        f"argument {test.arg} {test.op.value} {test.value if test.value < 0 else hex(test.value)}"
        for test in row.rule.tests
    )
    return f"| `{row.rule.syscall}` | {plane} | {tests or 'always'} | {_fate(row)} |\n"


def _fate(row: Row) -> str:
    if row.handler is None:
        return f"fails in the kernel: {row.rule.action}"
    function = getattr(row.handler, "func", row.handler)
    return str(function.__doc__).partition("\n")[0].rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
