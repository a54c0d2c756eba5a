from mirrord_seccomp.syscalls import current_arch, number

from mirrord.dispatch.table import Table
from mirrord.dispatch.watch import Watch
from mirrord.syscall import CONTINUE, Tid

from .fakes import FakeCall


def test_every_call_is_looked_at_and_run_by_the_kernel() -> None:
    forgotten: list[Tid] = []
    moved: list[None] = []
    watch = Watch(
        forget_thread=forgotten.append,
        forget_threads=lambda: moved.append(None),
        returning_from_signal=None,
    )
    table = Table(watch.rows())
    calls = [number(name, current_arch()) for name in ("openat", "connect", "mkdirat", "execve", "chroot")]
    for call in calls:
        assert call is not None
        assert table.handlers[call](FakeCall()) is CONTINUE
    assert (len(forgotten), len(moved)) == (1, 1)
    assert number("read", current_arch()) not in table.handlers
    assert number("rt_sigreturn", current_arch()) not in table.handlers
