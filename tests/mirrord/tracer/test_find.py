import os
import socket
import subprocess

from mirrord.tracer.find import find_socket

from .puppet import Puppet, puppet

MAKE = "[kept.append(socket.socket())] and (kept[-1].fileno(), os.fstat(kept[-1].fileno()).st_ino)"


def found(program: Puppet, inode: int, *, fd: int, tid: int = 0, among: tuple[int, ...] = ()) -> bool:
    sock = find_socket(tid=tid or program.pid, fd=fd, inode=inode, among=among)
    if sock is None:
        return False
    with sock:
        assert os.fstat(sock.fileno()).st_ino == inode
        assert not os.get_inheritable(sock.fileno())
        assert isinstance(sock, socket.socket)
    return True


def test_a_socket_where_it_was() -> None:
    with puppet() as program:
        fd, inode = program(MAKE)
        assert found(program, inode, fd=fd)


def test_a_socket_that_was_moved() -> None:
    with puppet() as program:
        fd, inode = program(MAKE)
        program(f"os.dup2({fd}, 77) and kept[-1].close()")
        assert not found(program, inode, fd=fd)
        assert found(program, inode, fd=fd, among=(program.pid,))


def test_another_descriptor_in_its_place_is_not_taken_for_it() -> None:
    with puppet() as program:
        fd, inode = program(MAKE)
        program(f"os.dup2(0, {fd}) and None")
        assert not found(program, inode, fd=fd, among=(program.pid,))
        other, _ = program(MAKE)
        assert not found(program, inode, fd=other)


def test_a_socket_that_a_child_has_inherited() -> None:
    with puppet() as program, puppet() as other:
        fd, inode = program(MAKE)
        program("[os.pipe()] and None")
        child = program("os.fork() or (signal.pause(), os._exit(0))")
        program("kept[-1].close()")
        assert found(program, inode, fd=fd, among=(other.pid, child))
        program(f"os.kill({child}, 9)")


def test_a_socket_that_is_closed_everywhere() -> None:
    with puppet() as program:
        fd, inode = program(MAKE)
        program("kept[-1].close()")
        assert not found(program, inode, fd=fd, among=(program.pid,))


def test_processes_that_have_ended_are_passed_over() -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    with puppet() as program:
        fd, inode = program(MAKE)
        assert found(program, inode, fd=fd, tid=ended.pid, among=(ended.pid, program.pid))
        assert not found(program, inode, fd=fd, tid=ended.pid, among=(ended.pid,))


def test_no_descriptor_is_leaked() -> None:
    with puppet() as program:
        fd, inode = program(MAKE)
        before = len(os.listdir("/proc/self/fd"))
        for wanted in (inode, inode + 10**9):
            found(program, wanted, fd=fd, among=(program.pid,))
        assert len(os.listdir("/proc/self/fd")) == before
