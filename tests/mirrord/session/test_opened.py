import os
import socket
import subprocess

from mirrord.session.opened import datagram_sockets, kernels_ports, listeners, opened


def test_what_this_process_serves_on() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound,
        socket.create_connection(server.getsockname()) as client,
    ):
        bound.bind(("::1", 0))
        found = {one.fd: one.inode for one in opened(os.getpid())}
        for one in (server, bound, unbound, client):
            assert found[one.fileno()] == os.fstat(one.fileno()).st_ino
        serving = {one.fd for one in listeners(os.getpid())}
        assert server.fileno() in serving
        assert client.fileno() not in serving
        datagrams = {one.fd for one in datagram_sockets(os.getpid())}
        assert bound.fileno() in datagrams
        assert unbound.fileno() not in datagrams


def test_a_duplicate_is_of_the_same_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (one,) = [one for one in listeners(os.getpid()) if one.fd == server.fileno()]
        duplicate = one.duplicate()
        assert duplicate is not None
        with duplicate:
            assert duplicate.getsockname() == server.getsockname()
    assert one.duplicate() is None, "it is closed"


def test_a_process_that_has_ended_has_none() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        assert list(opened(process.pid)) == []


def test_the_kernels_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in kernels_ports()
    assert 8080 not in kernels_ports()
