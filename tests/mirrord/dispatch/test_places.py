import errno
import os

import pytest
from mirrord_agent.wire.messages import Stat

from mirrord.dispatch.places import Moved, Places, Remote, while_it_has_a_path
from mirrord.dispatch.row import AT_FDCWD
from mirrord.syscall import CONTINUE, SUCCESS, Elsewhere, Verdict

from ..link.agent import attributes
from .fakes import FakeCall, Stage, Theatre

BENEATH = 0x08


@pytest.fixture
def stage(theatre: Theatre) -> Stage:
    """A world in which the remote directory ``/srv/dir`` can be open."""
    made = theatre.stage({"fs": {"mapping": {"^/moved": "/usr"}, "not_found": ["^/absent"]}}, agent=True)
    folder = attributes(ino=2, mode=0o40755)
    made.agent.answer = lambda request: folder if isinstance(request, Stat) else None
    made.loop.run_until_complete(made.world.files.stat(b"/srv/dir", follow=True))
    made.world.files.directories_given = True
    return made


def place(
    stage: Stage,
    path: bytes,
    *,
    directory: int = AT_FDCWD,
    resolve: int = 0,
    empty: bool = False,
    other_user: bool = False,
) -> Remote | Moved | None:
    call = FakeCall()
    call.other_user = other_user
    root = stage.world.files.placeholders.root
    call.paths = {5: root + b"/srv/dir", 6: b"/usr"}
    address = call.place(path + b"\0")
    return Places(stage.world).place(call, directory, address, resolve=resolve, empty=empty)


@pytest.mark.parametrize(
    "path", [b"/usr/bin/env", b"x", b"../x", b"", b"/proc/self/status", b"/proc/self/fd/x"]
)
def test_what_is_local_is_the_kernels(stage: Stage, path: bytes) -> None:
    assert place(stage, path) is None
    assert place(stage, path, directory=6) is None


def test_a_rule_makes_remote_absent_or_moved(stage: Stage) -> None:
    assert place(stage, b"/srv/link/../x/") == Remote(b"/srv/link/../x/")
    assert place(stage, b"/moved/bin/env") == Moved(b"/usr/bin/env")
    with pytest.raises(Elsewhere, match="another user"):
        place(stage, b"/moved/bin/env", other_user=True)
    with pytest.raises(FileNotFoundError):
        place(stage, b"/absent/x")


def test_what_is_relative_to_a_remote_directory_is_remote(stage: Stage) -> None:
    assert place(stage, b"a/b", directory=5) == Remote(b"/srv/dir/a/b", relative=True)
    assert place(stage, b"", directory=5, empty=True) == Remote(b"/srv/dir", relative=True, opened=True)
    assert place(stage, b"", directory=5) is None, "ENOENT is the kernel's"
    assert place(stage, b"a", directory=5, resolve=BENEATH) == Remote(
        b"a", b"/srv/dir", BENEATH, relative=True
    )
    assert place(stage, b"/srv/dir", directory=7, resolve=BENEATH) is None, "EXDEV is the kernel's"
    with pytest.raises(OSError) as caught:
        place(stage, b"a", directory=7)
    assert caught.value.errno == errno.EBADF


def test_the_current_directory_counts_where_it_can_be_remote(stage: Stage) -> None:
    call = FakeCall()
    call.cwd = stage.world.files.placeholders.root + b"/srv/dir"
    places = Places(stage.world)
    assert places.current_directory(call) == b"/srv/dir"
    assert places.place(call, AT_FDCWD, call.place(b"x\0")) == Remote(b"/srv/dir/x", relative=True)
    stage.world.files.directories_given = False
    assert places.place(call, AT_FDCWD, call.place(b"x\0")) is None


def test_a_link_of_proc_to_a_placeholder_stands_for_the_remote_file(stage: Stage) -> None:
    fd = os.open(stage.world.files.placeholders.root + b"/srv/dir", os.O_RDONLY)
    link = os.readlink(b"/proc/self/fd/%d" % fd)
    path = b"/proc/self/fd/%d" % fd
    assert place(stage, path) == Remote(b"/srv/dir", link=link, relative=True)
    assert place(stage, path + b"/x") == Remote(b"/srv/dir/x", relative=True)
    assert place(stage, b"/dev/fd/%d/x" % fd) == Remote(b"/srv/dir/x", relative=True)
    os.close(fd)
    assert place(stage, path) is None


def test_a_process_that_lives_elsewhere_is_left_alone(stage: Stage) -> None:
    call = FakeCall()
    call.foreign = True
    places = Places(stage.world)
    assert places.place(call, AT_FDCWD, call.place(b"/usr/x\0")) is None
    with pytest.raises(Elsewhere):
        places.place(call, AT_FDCWD, call.place(b"/srv/x\0"))


@pytest.mark.parametrize(
    ("failure", "verdict"),
    [(None, SUCCESS), (FileNotFoundError(), CONTINUE), (NotADirectoryError(), CONTINUE)],
)
def test_what_has_no_path_any_more_is_the_kernels(
    stage: Stage, failure: OSError | None, verdict: Verdict
) -> None:
    async def answer() -> Verdict:
        if failure is not None:
            raise failure
        return SUCCESS

    assert stage.loop.run_until_complete(while_it_has_a_path(answer)) is verdict
