"""Programs that read files give the same under mirrord as in the pod."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import Line, Mirrord
from ..support.build import SYSTEM_PYTHON, command
from ..support.needs import tool
from ..support.running import Outcome, Runner, read_line
from ..support.tree import Tree

GIT = "git -c safe.directory='*' -c user.name=n -c user.email=e@x"
NGINX = """\
daemon off; master_process off; pid {0}/pid; error_log {0}/log;
events {{}}
http {{ access_log off; sendfile on; client_body_temp_path {0}/b; proxy_temp_path {0}/p;
  fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
  server {{ listen unix:{0}/socket; root {1}; }} }}
"""

SHELL = [
    "ls -lan --time-style=full-iso . site cfg",
    "ls -lanR . | sort",
    "ls -1f site | sort",
    "find . -printf '%p %s %m %n %l %k %T@ %y\\n' | sort",
    "find . -type f -exec sha256sum {} + | sort",
    "du -ab . | sort",
    "stat -c '%n %s %b %a %u %g %h %F %.Y' site/* cfg/key; stat -Lc '%s %F' cfg/key site/cfglink",
    "tar c --numeric-owner --sort=name . | tar xO ./site/random | sha256sum",
    "cp -a . $T/copy && cd $T/copy && find . -type f -printf '%p %s %m %n %T@\\n' | sort; cksum site/random",
    "rsync -aHA . $T/sync && cd $T/sync && find . ! -type d -printf '%p %s %m %n %T@ %l\\n' | sort",
    "grep -r one . | sort",
    "sha256sum site/* 2>&1 | sort",
    f"{SYSTEM_PYTHON} -c 'import pkg.sub; print(pkg.sub.X, pkg.__file__)'",
    "source ./env.sh && echo $K; . $PWD/env.sh; echo */*; cd site/cfglink; pwd; pwd -P; cat key; cd ..; pwd",
    "cd site; [ -e dangling ] || echo dangles; [ -L absolute ] && [ -d sub ] && [ ! -x h1 ] && echo tests",
    "cat site/loop; cat site/dangling; cat site/h1/x; cat site; cat site/sub/deep/../../h2; cat no/../site",
    "realpath site/cfglink/key site/absolute; readlink -f cfg/key; readlink site/cfglink",
    "less site/index.html; head -c 5 site/random | wc -c; tail -c 3 site/sparse; cmp site/h1 site/h2",
    "vim -R -e -s -c '%print' -c quit cfg/key < /dev/null",
    "diff -r site cfg/../site && echo equal; wc -c site/h* && sort site/h1 site/h2",
    "exec 3< site/sparse; exec 4<&3; cat <&3 | cksum; cat /dev/fd/3 | wc -c; cat /proc/self/fd/4 | wc -c",
]

OWNED = pytest.param(
    "tar c --numeric-owner --sort=name . | tar tv --full-time --numeric-owner",
    marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give an open file another's owner"),
)

PROGRAMS = {
    "sqlite3": (
        "sqlite3 app.db 'create table t(a,b); insert into t values (1,2),(3,4);'",
        "sqlite3 app.db 'select * from t; pragma integrity_check'; "
        "sqlite3 -readonly app.db 'select sum(a) from t'",
    ),
    "git": (
        f"git init -q repo; cd repo; echo hi > f; {GIT} add f; {GIT} commit -qm first; "
        f"echo more > g; {GIT} add g; {GIT} commit -qm second",
        f"{GIT} -C $0/repo log --stat --format='%H %s'; cd repo; "
        f"{GIT} status --short; {GIT} show HEAD:f; {GIT} fsck",
    ),
    "node": ("true", "node nm/main.js; node $0/nm/main.js"),
    "java": (
        "mkdir j; cd j; "
        "echo 'class M { public static void main(String[] a) { System.out.println(\"java\"); } }' > M.java; "
        "javac M.java && jar cfe ../m.jar M M.class",
        "java -Xshare:auto -XX:TieredStopAtLevel=1 -jar $0/m.jar",
    ),
}
"""What makes something for a program, and what uses it."""


@pytest.mark.parametrize("script", [*SHELL, OWNED])
def test_a_shell_command_gives_the_same(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], tree: Tree, script: str
) -> None:
    text = f"T=$(mktemp -d); cd $0; {{ {script}; }} 2>&1; s=$?; rm -rf $T; exit $s"
    line = ["bash", "-c", f"export PYTHONDONTWRITEBYTECODE=1; {text}", tree.path]
    for name in ("rsync", "vim", "less"):
        if name in script:
            tool(name)

    session, pod = mirrord(*line, options=["-q", *tree.options]), in_pod(*line)

    assert (session.out, session.code) == (pod.out, pod.code)
    assert pod.out


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_program_gives_the_same(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], tree: Tree, program: str
) -> None:
    tool(program)
    prepare, script = PROGRAMS[program]
    made = in_pod("sh", "-c", f"cd $0 && {prepare}", tree.path)
    assert made.code == 0, made.err
    line = ["sh", "-c", f"cd $0 && {{ {script}; }} 2>&1", tree.path]
    session, pod = mirrord(*line, options=["-q", *tree.options]), in_pod(*line)

    assert (session.out, session.err, session.code) == (pod.out, "", pod.code)
    assert pod.out


def test_go_walks_a_remote_directory(mirrord: Mirrord, in_pod: Callable[..., Outcome], tree: Tree) -> None:
    pod = in_pod("sh", "-c", "cd $0 && find . -printf '%P %s %m\\n'", tree.path)
    session = mirrord(*command("walk-go"), tree.path, options=["-q", *tree.options])

    assert sorted(session.lines) == sorted(pod.lines)


def test_a_web_server_sends_a_remote_directory(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], tree: Tree, tmp_path: Path
) -> None:
    here = tmp_path / "nginx"
    here.mkdir(mode=0o777)
    (here / "conf").write_text(NGINX.format(here, f"{tree.path}/site"))
    get = f"curl -sS --retry 20 --retry-all-errors --retry-delay 0 --unix-socket {here}/socket http://x/"
    nginx = os.path.realpath(tool("nginx"))
    tool("curl")
    script = (
        f"{nginx} -p {here} -c conf & until [ -S {here}/socket ]; do :; done; "
        f"for f in index.html random sparse empty h1 none; do {get}$f | sha256sum; done; kill $!; wait"
    )
    expected = "for f in index.html random sparse empty h1; do sha256sum < $f; done"

    session = mirrord("bash", "-c", script, options=["-q", *tree.options])

    assert session.lines[:5] == in_pod("sh", "-c", f"cd $0/site; {expected}", tree.path).lines
    assert len(session.lines) == 6


def test_a_log_is_followed(line: Line, runner: Runner, in_pod: Callable[..., Outcome], tree: Tree) -> None:
    """By ``tail -F``, as it grows and is rotated."""
    log = f"{tree.path}/log"
    in_pod("sh", "-c", "echo first > $0", log)
    with runner.start(line("tail", "-s", "0.1", "-F", log, options=["-q", *tree.options])) as process:
        assert read_line(process) == "first"
        in_pod("sh", "-c", "echo second >> $0", log)
        assert read_line(process) == "second"
        in_pod("sh", "-c", "echo third >> $0; mv $0 $0.1; echo fourth > $0", log)
        assert [read_line(process) for _ in range(2)] == ["third", "fourth"]
        process.terminate()


def test_a_replaced_configuration_is_seen_at_once(
    line: Line, runner: Runner, in_pod: Callable[..., Outcome], tree: Tree
) -> None:
    """As the kubelet replaces a ConfigMap: by renaming a link over ``..data``."""
    script = "cd $0/cfg; while read go; do cat key; ls ..data/; done"
    with runner.start(line("sh", "-c", script, tree.path, options=["-q", *tree.options])) as process:
        assert process.stdin is not None
        for number in range(5):
            process.stdin.write("go\n")
            process.stdin.flush()
            assert [read_line(process), read_line(process)] == [
                "one" if not number else f"new {number}",
                "key",
            ]
            new = f"..{number + 2}"
            in_pod(
                *("sh", "-c", "cd $0/cfg; mkdir $1; echo new $2 > $1/key; ln -s $1 tmp; mv -T tmp ..data"),
                *(tree.path, new, str(number + 1)),
            )
        process.stdin.close()
        assert process.wait(20) == 0
