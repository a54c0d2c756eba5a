"""seccomp(2) itself."""

import errno
import struct
import subprocess

import pytest
from mirrord_seccomp import load
from mirrord_seccomp.bpf import Action, Rule, compile
from mirrord_seccomp.syscalls import current_arch

from .trying import command

FSYNC_FAILS = [Rule("fsync", Action.ERRNO(errno.EXDEV))]
FALLS_OFF_ITS_END = struct.pack("<HBBI", 0x20, 0, 0, 0)


def test_sock_fprog_is_laid_out_as_the_kernel_has_it() -> None:
    assert load.sock_fprog(3, 0x7FFF12345678) == bytes.fromhex("0300000000000000 78563412ff7f0000")


def test_sock_fprog_has_a_limit() -> None:
    with pytest.raises(ValueError, match="4096"):
        load.sock_fprog(4097, 0)


def test_load_refuses_an_overlong_program() -> None:
    with pytest.raises(ValueError, match="4096"):
        load.load(FALLS_OFF_ITS_END * 4097)


def run(program: bytes, *options: str) -> "subprocess.CompletedProcess[bytes]":
    line = [*command(program, "fsync", 1000), *options]
    return subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def output(program: bytes, *options: str) -> bytes:
    return run(program, *options).stdout


def exit_code(program: bytes, *options: str) -> int:
    return run(program, *options).returncode


@pytest.mark.usefixtures("filters")
class TestKernel:
    def test_a_malformed_program_is_einval(self) -> None:
        assert output(FALLS_OFF_ITS_END) == b"load %d\n" % errno.EINVAL

    def test_an_unknown_flag_is_einval(self) -> None:
        assert output(compile([], current_arch()), "--flags", str(1 << 30)) == b"load %d\n" % errno.EINVAL

    def test_a_filter_is_of_one_thread(self) -> None:
        assert exit_code(compile(FSYNC_FAILS, current_arch()), "--in-thread") == errno.EBADF

    def test_tsync_gives_it_to_all(self) -> None:
        program = compile(FSYNC_FAILS, current_arch())
        assert exit_code(program, "--in-thread", "--flags", str(load.TSYNC)) == errno.EXDEV


@pytest.mark.usefixtures("listeners")
def test_a_process_has_one_listener() -> None:
    program = compile([], current_arch())
    assert output(program, "--flags", str(load.NEW_LISTENER), "--times", "2") == b"load %d\n" % errno.EBUSY
