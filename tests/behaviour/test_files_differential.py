"""The same file calls in the pod and under mirrord give the same results, errnos and bytes."""

import contextlib
import json
import os
import posixpath
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ..conftest import Line
from ..support.build import SOURCES, SYSTEM_PYTHON
from ..support.running import Outcome, Runner, end_input, read_line, write
from ..support.sandboxes import Sandbox

EXAMPLES: Final = 150
_KEPT: Final = 0o700 if os.geteuid() else 0
_MODE: Final = re.compile("0o[0-7]+")
TREE: Final = """
mkdir -p $0/dir/sub $0/closed $0/listed && cd $0
printf 'some content' > dir/file; printf deep > dir/sub/deep; : > empty
truncate -s 100k sparse; printf end >> sparse
ln -s dir/file link; ln -s dir dirlink; ln -s $0/dir abs; ln -s link chain; ln -s ../.. up; ln -s loop loop
ln -s loop2 loop1; ln -s loop1 loop2; ln -s nowhere dangling; ln -s ../dir/ dir/slashed
ln -s dir/sub/../file dotted
ln -s /etc/hostname pods; ln -s /usr/bin/env everybodys; ln dir/file hard
printf secret > unreadable; printf x > closed/inside; printf y > listed/inside
printf bytes > "$(printf 'name-\\377\\376')"; mkfifo fifo
setfattr -n user.color -v blue dir/file 2>/dev/null
chmod 0 unreadable; chmod 0 closed; chmod 444 listed
"""
NAMES: Final = (
    *(
        "dir",
        "sub",
        "deep",
        "file",
        "empty",
        "sparse",
        "link",
        "dirlink",
        "abs",
        "chain",
        "up",
        "loop",
        "loop1",
    ),
    *(
        "dangling",
        "slashed",
        "dotted",
        "pods",
        "everybodys",
        "hard",
        "unreadable",
        "closed",
        "inside",
        "listed",
    ),
    *("name-\xff\xfe", "fifo", "none", "x" * 255, "x" * 256, ".", "..", ""),
)
BASE: Final = f"/app/tree-{secrets.token_hex(4)}"
O_PATH: Final = 0o10000000
FLAGS: Final = (0, 0o200000, 0o400000, 0o600000, O_PATH, O_PATH | 0o400000, O_PATH | 0o200000, 0o4000)
AT_EMPTY_PATH: Final = 0x1000
LOOKS: Final = (0, AT_EMPTY_PATH | 0x100, AT_EMPTY_PATH | 0x800, 0x100)
CHECKS: Final = (0, AT_EMPTY_PATH, AT_EMPTY_PATH | 0x200, AT_EMPTY_PATH | 0x100)

relative = (
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda path: not path.startswith("/"))
)
absolute = st.one_of(
    relative.map(lambda path: f"{BASE}/{path}").filter(
        lambda path: posixpath.normpath(path).startswith(BASE)
    ),
    st.just(BASE),
    st.just(f"{BASE}/" + "dir/../" * 600 + "dir"),
)
path = absolute | relative
# to open a named pipe waits for another program in the pod, and is refused here
opened = path.filter(lambda path: "fifo" not in path)
slot = st.integers(0, 5)
directory = st.none() | slot
follow = st.booleans()
call = st.one_of(
    st.tuples(st.just("open"), directory, opened, st.sampled_from(FLAGS)),
    st.tuples(st.just("open"), st.none(), opened, st.sampled_from(FLAGS)),
    st.tuples(
        st.just("openat2"),
        directory,
        opened,
        st.sampled_from(FLAGS),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0x02, 0x04, 0x08, 0x10, 0x18, 0x40]),
    ),
    st.tuples(st.just("reopen"), slot, st.sampled_from([0, 0o200000])),
    st.tuples(st.just("pread"), slot, st.integers(0, 20), st.sampled_from([0, 3, 102_395, 200_000])),
    st.tuples(st.sampled_from(["list", "types", "fchdir", "link"]), slot),
    st.tuples(st.just("stat"), directory, path, follow),
    st.tuples(st.just("look"), directory, path | st.just(""), st.sampled_from(LOOKS)),
    st.tuples(st.just("look"), st.none(), path | st.just(""), st.just(AT_EMPTY_PATH)),
    # of these a filter cannot see whether the path is empty
    st.tuples(st.just("look"), slot, st.just(""), st.just(AT_EMPTY_PATH)),
    st.tuples(st.just("check"), directory, path | st.just(""), st.integers(0, 7), st.sampled_from(CHECKS)),
    st.tuples(st.just("same"), directory, opened),
    st.tuples(st.just("access"), directory, path, st.integers(0, 7), follow, follow),
    st.tuples(st.just("readlink"), directory, path, st.sampled_from([0, 1, 5, 64, -1])),
    st.tuples(st.just("chdir"), path),
    st.tuples(st.just("getcwd"), st.sampled_from([0, 1, 10, 4096])),
    st.tuples(st.just("statfs"), absolute),
    st.tuples(st.just("xattr"), absolute, st.sampled_from(["user.color", "user.none", "bad"]), follow),
    st.tuples(st.just("xattrs"), absolute, follow),
    st.tuples(st.just("fxattr"), slot, st.sampled_from(["user.color", "user.none", "bad"])),
    st.tuples(st.sampled_from(["fxattrs", "fstatfs"]), slot),
    st.tuples(
        st.just("bad"),
        st.sampled_from(["openat", "newfstatat", "readlinkat", "statfs"]),
        st.none() | st.just(f"{BASE}/link"),
        st.sampled_from([0, 1, 2**47]),
    ),
)


@dataclass(frozen=True, slots=True)
class Both:
    """The program in the pod and under mirrord."""

    pod: "subprocess.Popen[str]"
    here: "subprocess.Popen[str]"

    def run(self, calls: list[Any]) -> tuple[Any, Any]:
        """Make the same calls in both."""
        for process in (self.pod, self.here):
            write(process, json.dumps(calls) + "\n")
        pod, here = (json.loads(read_line(process)) for process in (self.pod, self.here))
        return pod, here


@pytest.fixture
def both(
    line: Line, runner: Runner, sandbox: Sandbox, in_pod: Callable[..., Outcome], tmp_path: Path
) -> Iterator[Both]:
    made = in_pod("sh", "-c", TREE, BASE)
    assert made.code == 0, made.err
    configuration = tmp_path / "mirrord.json"
    configuration.write_text(json.dumps({"feature": {"fs": {"mode": "read", "read_only": ["^/app(/|$)"]}}}))
    source = (SOURCES / "files" / "calls.py").read_text()
    program = [SYSTEM_PYTHON, "-c", source]
    with contextlib.ExitStack() as stack:
        pod = stack.enter_context(runner.start(sandbox.command("exec", *program)))
        here = stack.enter_context(runner.start(line(*program, options=["-q", "-f", str(configuration)])))
        assert read_line(pod) == read_line(here) == "ready"
        yield Both(pod, here)
        for process in (pod, here):
            end_input(process)
            assert process.wait(20) == 0
    in_pod("sh", "-c", "chmod -R u+rwx $0; rm -rf $0", BASE)


def seen(results: list[Any]) -> list[Any]:
    """Leave out what an ordinary user keeps for itself: the owner's rights, as fstat(2) shows them."""
    return [
        oct(int(one, 8) & ~_KEPT) if isinstance(one, str) and _MODE.fullmatch(one) else one for one in results
    ]


def test_calls_give_the_same_here_and_there(both: Both) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(call, min_size=1, max_size=8))
    @example([("chdir", f"{BASE}/dirlink"), ("open", None, "..", 0), ("list", 1), ("getcwd", 4096)])
    @example([("open", None, BASE, 0), ("open", 0, "link", O_PATH | 0o400000), ("readlink", 1, "", 64)])
    @example([("open", None, f"{BASE}/dir/file", O_PATH), ("reopen", 0, 0), ("pread", 1, 20, 0)])
    @example([("openat2", 0, BASE, 0, 0, 8)])
    @example([("open", None, f"{BASE}/listed", 0), ("list", 0), ("types", 0), ("look", 0, "inside", 0)])
    @example([("open", None, f"{BASE}/dir/file", 0), ("fxattr", 0, "user.color"), ("fxattrs", 0)])
    @example([("look", None, f"{BASE}/link", AT_EMPTY_PATH), ("look", None, f"{BASE}/link", 0x1100)])
    def compare(calls: list[Any]) -> None:
        pod, here = both.run([list(one) for one in calls])
        assert seen(here) == seen(pod)

    compare()
