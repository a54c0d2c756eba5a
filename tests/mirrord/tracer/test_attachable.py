"""Each process that cannot be attached to has its sentence, and is not touched."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mirrord_seccomp.syscalls import Arch, current_arch

from mirrord.errors import AttachError
from mirrord.tracer import attachable

from ...support.build import SYSTEM_PYTHON
from ...support.i386 import PRINT_AND_PAUSE, elf
from ...support.needs import missing, tool
from ...support.waiting import until

FOREVER = "import time; print('ready', flush=True); time.sleep(1000)"


@contextmanager
def running(*line: str) -> Iterator["subprocess.Popen[str]"]:
    """A process, once it has printed a line; killed in the end."""
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def refusal(pid: int) -> str:
    with pytest.raises(AttachError) as caught:
        attachable.require(pid)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_an_ordinary_process() -> None:
    with running(SYSTEM_PYTHON, "-c", FOREVER) as process:
        attachable.require(process.pid)


def test_no_process() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        assert refusal(process.pid) == f"there is no process {process.pid}"


def test_a_thread() -> None:
    script = (
        "import threading; t = threading.Thread(target=threading.Event().wait, daemon=True); t.start();"
        "print(t.native_id, flush=True); t.join()"
    )
    with subprocess.Popen([SYSTEM_PYTHON, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        tid = int(process.stdout.readline())
        said = refusal(tid)
        process.kill()
    assert said.startswith(f"{tid} is a thread of process {process.pid} (python")
    assert said.endswith(f"mirrord attach {process.pid}")


@pytest.mark.parametrize("pid", [os.getpid, os.getppid])
def test_ourselves(pid: Callable[[], int]) -> None:
    assert "is mirrord itself, or runs mirrord" in refusal(pid())


def test_a_kernel_thread() -> None:
    for name in filter(str.isdigit, os.listdir("/proc")):
        if attachable.Status.of(int(name)).is_kernel_thread:
            assert "is a kernel thread" in refusal(int(name))
            return
    pytest.skip("no kernel thread is seen from this namespace")


def test_a_zombie() -> None:
    with subprocess.Popen(["true"]) as process:
        until("it is a zombie", lambda: " Z " in Path(f"/proc/{process.pid}/stat").read_text())
        said = refusal(process.pid)
        assert "is a zombie" in said
        assert f"parent, process {os.getpid()}," in said


def test_a_stopped_one() -> None:
    script = "import os, signal; print('ready', flush=True); os.kill(os.getpid(), signal.SIGSTOP)"
    with running(SYSTEM_PYTHON, "-c", script) as process:
        until("it is stopped", lambda: " T " in Path(f"/proc/{process.pid}/stat").read_text())
        said = refusal(process.pid)
        assert "is stopped, as by Ctrl-Z" in said
        assert said.endswith(f"kill -CONT {process.pid}")


def test_one_that_strace_holds() -> None:
    line = [
        tool("strace"),
        "-o",
        os.devnull,
        SYSTEM_PYTHON,
        "-c",
        "import os; print(os.getpid(), flush=True); input()",
    ]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        pid = int(process.stdout.readline())
        assert f"is held by another tracer, process {process.pid} (strace)" in refusal(pid)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(20) == 0


def test_one_of_another_user() -> None:
    if os.geteuid() != 0:
        missing("root, to become two users,")
    script = (
        "import os, sys; from mirrord.tracer import attachable\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: attachable.require(int(sys.argv[1]))\n"
        "except Exception as error: print(error)\n"
    )
    with running(SYSTEM_PYTHON, "-c", FOREVER) as process:
        done = subprocess.run(
            [sys.executable, "-c", script, str(process.pid)], capture_output=True, text=True, timeout=30
        )
    assert "belongs to another user, root; run mirrord attach as that user" in done.stdout


@pytest.mark.parametrize(("flag", "kind"), [("-n", "network"), ("-m", "mount")])
def test_one_in_another_namespace(flag: str, kind: str) -> None:
    with running(tool("unshare"), "-Ur", flag, SYSTEM_PYTHON, "-c", FOREVER) as process:
        assert f"is in another {kind} namespace" in refusal(process.pid)


@pytest.mark.skipif(current_arch() is not Arch.X86_64, reason="i386 programs run on x86_64 only")
def test_a_32_bit_one(tmp_path: Path) -> None:
    program = tmp_path / "i386"
    program.write_bytes(elf(PRINT_AND_PAUSE))
    program.chmod(0o755)
    try:
        with running(str(program)) as process:
            assert "is a 32-bit program" in refusal(process.pid)
    except OSError:
        pytest.skip("this kernel does not run 32-bit programs")


@pytest.mark.parametrize(
    ("scope", "said", "remedy"),
    [
        ("", "does not let mirrord trace", "kernel.yama.ptrace_scope, which should be 0"),
        ("1", "ptrace_scope is 1, only a process's ancestors", "sudo sysctl -w kernel.yama.ptrace_scope=0"),
        ("2", "ptrace_scope is 2, only who has CAP_SYS_PTRACE", "run mirrord attach as root"),
        ("3", "ptrace_scope is 3, nobody may", "start the program with mirrord exec"),
    ],
)
def test_tracing_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str, said: str, remedy: str
) -> None:
    setting = tmp_path / "ptrace_scope"
    if scope:
        setting.write_text(f"{scope}\n")
    monkeypatch.setattr(attachable, "_YAMA", str(setting))
    error = attachable.tracing_refused(os.getpid())
    assert said in error.problem
    assert remedy in error.remedy
