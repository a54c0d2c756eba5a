import errno
import os
from collections.abc import Iterator

import pytest
from mirrord_seccomp.notify import NotificationId

from mirrord.syscall import Call, Elsewhere, Fault, Tid
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.threads import Threads

from .puppet import Puppet
from .puppet import puppet as started


@pytest.fixture
def puppet() -> Iterator[Puppet]:
    with started() as made:
        yield made


@pytest.fixture
def call(puppet: Puppet) -> Iterator[TrappedCall]:
    threads = Threads(lambda id: True)
    yield TrappedCall(NotificationId(1), Tid(puppet.pid), 1, (0, 0, 0, 0, 0, 0), threads)
    threads.forget_all()


def test_it_is_what_the_dispatcher_expects(call: TrappedCall) -> None:
    as_seen: Call = call
    assert as_seen.args == (0,) * 6


def test_a_read_is_whole_or_a_fault(call: TrappedCall, puppet: Puppet) -> None:
    at = puppet("page(b'x' * 8192, 2)")
    puppet(f"libc.munmap(ctypes.c_void_p({at + 4096}), 4096)")
    assert call.read(at + 4090, 6) == b"x" * 6
    with pytest.raises(Fault):
        call.read(at + 4090, 7)


def test_strings_and_writes(call: TrappedCall, puppet: Puppet) -> None:
    at = puppet("page(b'/path')")
    assert call.string(at) == b"/path"
    call.write(at, b"/q\0")
    assert call.string(at) == b"/q"


def test_descriptors(call: TrappedCall, puppet: Puppet) -> None:
    fd = puppet("os.open('/usr', os.O_PATH)")
    assert call.descriptor_path(fd) == b"/usr"
    ours = call.duplicate(fd)
    assert os.readlink(f"/proc/self/fd/{ours}") == "/usr"
    os.close(ours)


@pytest.mark.parametrize("fd", [99, -1, -7])
def test_no_such_descriptor_is_ebadf(call: TrappedCall, fd: int) -> None:
    with pytest.raises(OSError) as caught:
        call.duplicate(fd)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("fd", [99, -1, -7])
def test_no_such_directory_descriptor_is_ebadf(call: TrappedCall, fd: int) -> None:
    with pytest.raises(OSError) as caught:
        call.descriptor_path(fd)
    assert caught.value.errno == errno.EBADF


def test_a_program_in_our_namespaces_may_use_everything(call: TrappedCall) -> None:
    call.require_network()
    call.require_files()
    call.require_user()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
@pytest.mark.parametrize("change", ["os.setegid(65534)", "os.seteuid(65534)", "os.setgroups([65534])"])
def test_a_program_that_gave_rights_up_does_not_get_ours(
    call: TrappedCall, puppet: Puppet, change: str
) -> None:
    puppet(change)
    with pytest.raises(Elsewhere, match="not the rights of its session"):
        call.require_user()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
@pytest.mark.parametrize(
    ("change", "has"), [("None", True), ("os.seteuid(65534)", False), ("libc.unshare(0x10000000)", False)]
)
def test_a_capability_counts_in_our_user_namespace(
    call: TrappedCall, puppet: Puppet, change: str, has: bool
) -> None:
    puppet(change)
    assert call.has_capability(10) is has


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to enter new namespaces")
def test_a_program_elsewhere_is_left_alone(call: TrappedCall, puppet: Puppet) -> None:
    puppet("libc.unshare(0x40020000)")
    with pytest.raises(Elsewhere, match="network namespace"):
        call.require_network()
    with pytest.raises(Elsewhere, match="root directory or mount namespace"):
        call.require_files()
