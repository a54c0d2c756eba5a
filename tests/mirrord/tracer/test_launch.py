"""Real small programs, launched as a session does it."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from mirrord_seccomp import load
from mirrord_seccomp.bpf import Action, Rule
from mirrord_seccomp.syscalls import Arch, current_arch

from mirrord.errors import KernelError, LaunchError, ProgramNotExecutable, ProgramNotFound
from mirrord.session.processes import children
from mirrord.tracer import launch as module

from ...support.i386 import EXIT_WITH_7, elf
from .puppet import filtered, nr, parked, start

REGISTERS = """
.globl _start
_start:
    mov %rax, dump(%rip)
    mov %rbx, dump+8(%rip)
    mov %rcx, dump+16(%rip)
    mov %rdx, dump+24(%rip)
    mov %rsi, dump+32(%rip)
    mov %rdi, dump+40(%rip)
    mov %rbp, dump+48(%rip)
    mov %r8, dump+56(%rip)
    mov %r9, dump+64(%rip)
    mov %r10, dump+72(%rip)
    mov %r11, dump+80(%rip)
    mov %r12, dump+88(%rip)
    mov %r13, dump+96(%rip)
    mov %r14, dump+104(%rip)
    mov %r15, dump+112(%rip)
    lea -2048(%rsp), %rsi
    lea dump+120(%rip), %rdi
    mov $2048, %rcx
    cld
    rep movsb
    mov $1, %eax
    mov $1, %edi
    lea dump(%rip), %rsi
    mov $2168, %edx
    syscall
    mov $60, %eax
    xor %edi, %edi
    syscall
.bss
.balign 16
dump: .skip 2168
.section .note.GNU-stack,"",@progbits
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it wrote."""

    code: int
    out: bytes


def run(
    *argv: str,
    rules: Sequence[Rule] = (),
    environment: Mapping[bytes, bytes] | None = None,
    in_child: Callable[[], None] = lambda: None,
) -> Ended:
    """Launch a program and wait for its end; nothing of it is trapped that would wait."""
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        pid, listener = start(
            argv, *rules, environment=environment, stdin=null, stdout=write, in_child=in_child
        )
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
        os.close(null)
    with open(read, "rb") as stream:
        out = stream.read()
    listener.close()
    return Ended(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out)


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("code", [0, 1, 7, 127, 255])
def test_the_exit_code(code: int) -> None:
    assert run("sh", "-c", f"exit {code}").code == code


def test_arguments_environment_and_output() -> None:
    ended = run(
        "sh", "-c", 'printf %s "$1/$X"', "sh", "an argument", environment={b"X": b"y", b"PATH": b"/bin"}
    )
    assert ended == Ended(0, b"an argument/y")


def test_the_filter_is_active_from_the_first_instruction() -> None:
    """Even the dynamic linker's own calls meet it."""
    ended = run("true", rules=[Rule("mmap", Action.ERRNO(errno.ENOMEM))])
    assert ended.code != 0, "it dies before main()"


def test_a_trapped_call_comes_to_the_listener() -> None:
    with filtered("fsync") as (puppet, listener):
        puppet.tell(f"call({nr('fsync')}, 5)")
        assert listener.receive()
        id, tid, _, number, _, _, argument, *_ = listener.notification
        assert (tid, number, argument) == (puppet.pid, nr("fsync"), 5)
        listener.send_value(id, 77)
        assert puppet.hear() == 77


def test_the_program_is_not_traced_any_more() -> None:
    with filtered() as (puppet, _):
        assert puppet("[l.split()[1] for l in open('/proc/self/status') if l.startswith('TracerPid')]") == [
            "0"
        ]


def test_the_listener_is_not_left_in_the_program() -> None:
    with filtered("fsync") as (puppet, _):
        links = [os.readlink(f"/proc/{puppet.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{puppet.pid}/fd")]
    assert not [link for link in links if "seccomp" in link]


def test_nothing_is_filtered_here() -> None:
    with filtered("fsync"):
        status = Path("/proc/self/status").read_text()
        before = next(line for line in status.splitlines() if line.startswith("Seccomp_filters:"))
    with filtered("fsync"):
        status = Path("/proc/self/status").read_text()
        assert before in status


@pytest.mark.parametrize("name", ["no-such-program-anywhere", "/no/such/program", "/etc/passwd/x"])
def test_no_such_program(name: str) -> None:
    with pytest.raises(ProgramNotFound, match=f"there is no program {name}"):
        run(name)


def test_a_program_without_the_right_to_execute_it(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotExecutable, match="cannot be executed: permission denied"):
        run(script(tmp_path / "it", "#!/bin/sh\n", mode=0o644))


def test_a_directory_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotExecutable):
        run(str(tmp_path))


def test_a_bad_interpreter(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotExecutable, match="names an interpreter that does not exist"):
        run(script(tmp_path / "it", "#!/no/such/interpreter\n"))


def test_arguments_that_are_too_large() -> None:
    with pytest.raises(ProgramNotExecutable, match="too large"):
        run("sh", "x" * (1 << 20))


def test_a_script_without_an_interpreter_is_the_shells(tmp_path: Path) -> None:
    assert run(script(tmp_path / "it", "echo $1\nexit 7\n"), "x") == Ended(7, b"x\n")


def test_a_script_with_one(tmp_path: Path) -> None:
    assert run(script(tmp_path / "it", "#!/bin/sh\nexit 7\n")).code == 7


def test_a_failed_launch_leaves_nothing_behind() -> None:
    before = set(os.listdir("/proc/self/fd"))
    others = set(children())
    with pytest.raises(ProgramNotFound):
        run("/no/such/program")
    assert set(os.listdir("/proc/self/fd")) == before
    assert set(children()) <= others, "a sandbox of other tests may run on"


@pytest.mark.skipif(current_arch() is not Arch.X86_64, reason="i386 programs run on x86_64 only")
def test_a_32_bit_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i386"
    path.write_bytes(elf(EXIT_WITH_7))
    path.chmod(0o755)
    try:
        native = subprocess.run([path], timeout=10).returncode
    except OSError:
        pytest.skip("this kernel does not run 32-bit programs")
    assert native == 7
    others = set(children())
    with pytest.raises(ProgramNotExecutable, match="another architecture"):
        run(str(path))
    assert set(children()) <= others


@pytest.mark.skipif(current_arch() is not Arch.X86_64, reason="the program is written for x86_64")
def test_registers_and_stack_are_those_of_a_new_program(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gcc is missing, and CI=true")
        pytest.skip("gcc is missing")
    source, program = tmp_path / "registers.S", tmp_path / "registers"
    source.write_text(REGISTERS)
    subprocess.run([compiler, "-nostdlib", "-static", "-o", program, source], check=True, timeout=60)
    native = subprocess.run([program], stdout=subprocess.PIPE, timeout=10, check=True).stdout
    ended = run(str(program))
    assert ended.code == 0
    assert len(native) == 2168
    names = "rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15"
    for name, at in zip(names.split(), range(0, 120, 8), strict=True):
        assert (name, ended.out[at : at + 8]) == (name, native[at : at + 8])
    assert ended.out[120:] == native[120:], "what lies below the stack"


def signals_of(status: bytes) -> dict[str, int]:
    lines = [line.split() for line in status.decode().splitlines()]
    return {
        words[0][:-1]: int(words[1], 16)
        for words in lines
        if words[0].startswith("Sig") and words[0] != "SigQ:"
    }


def mask(*numbers: int) -> int:
    return sum(1 << (number - 1) for number in numbers)


def test_signal_dispositions_are_default() -> None:
    signals = signals_of(run("cat", "/proc/self/status").out)
    assert not signals["SigIgn"] & mask(signal.SIGPIPE, signal.SIGXFSZ)
    assert signals["SigBlk"] == 0
    assert signals["SigCgt"] == 0


def test_what_the_shell_had_ignored_is_inherited() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    signals = signals_of(run("cat", "/proc/self/status", in_child=ignore).out)
    assert signals["SigIgn"] & mask(signal.SIGCHLD, signal.SIGHUP) == mask(signal.SIGCHLD, signal.SIGHUP)


def test_a_signal_during_the_launch_is_the_programs() -> None:
    """One that is pending when the process is seized, blocked until then."""

    def pend() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)

    signals = signals_of(run("cat", "/proc/self/status", in_child=pend).out)
    assert signals["SigBlk"] == mask(signal.SIGUSR1)


def test_a_process_that_is_killed_before_its_start() -> None:
    process = parked()
    module._seize(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.execute([b"true"], {})
    with pytest.raises(LaunchError, match="was killed before its first instruction"):
        module._run_to_exec(process, b"true")


def test_a_second_listener_is_refused() -> None:
    """A session inside a session: the kernel allows one listener in a chain of filters."""
    with pytest.raises(LaunchError, match="already supervised"):
        module._must(-errno.EBUSY)
    with pytest.raises(KernelError, match="lacks seccomp user notifications"):
        module._must(-errno.EINVAL)
    with pytest.raises(LaunchError, match="permission denied"):
        module._must(-errno.EACCES)
    assert module._must(5) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to launch with privileges")
def test_privileges_can_still_be_gained_where_they_were_there() -> None:
    def no_new_privs(out: bytes) -> list[bytes]:
        return [line.split()[1] for line in out.splitlines() if line.startswith(b"NoNewPrivs:")]

    assert no_new_privs(run("cat", "/proc/self/status").out) == [b"0"]

    def lower() -> None:
        os.setresuid(65534, 65534, 65534)

    assert no_new_privs(run("cat", "/proc/self/status", in_child=lower).out) == [b"1"]


def test_a_program_on_its_own_keeps_its_children() -> None:
    ended = run(sys.executable, "-I", "-S", "-c", "import os; os.waitpid(os.fork() or os._exit(3), 0)")
    assert ended.code == 0


def test_the_filters_flags() -> None:
    assert module._FILTER_FLAGS & load.NEW_LISTENER
    assert module._FILTER_FLAGS & load.WAIT_KILLABLE_RECV
