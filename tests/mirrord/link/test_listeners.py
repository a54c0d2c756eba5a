import errno
import os
import socket
import struct

import pytest

from mirrord.link.addresses import Peer, from_name
from mirrord.link.listeners import Listener, bind, relay_socket, relay_target, with_port

V4, V6 = socket.AF_INET, socket.AF_INET6


def own_address() -> str | None:
    """Return an address of this machine's network, if it has one."""
    with socket.socket(V4, socket.SOCK_DGRAM) as probe:
        try:
            # nothing is sent: the kernel only chooses a source
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        host: str = probe.getsockname()[0]
        return host


@pytest.mark.parametrize(
    ("family", "host", "dual", "at", "families"),
    [
        (V4, "0.0.0.0", False, "127.0.0.1", {V4}),
        (V4, "127.0.0.1", False, "127.0.0.1", {V4}),
        (V4, "127.9.8.7", False, "127.9.8.7", {V4}),
        (V6, "::", False, "::1", {V6}),
        (V6, "::", True, "127.0.0.1", {V4, V6}),
        (V6, "::1", False, "::1", {V6}),
    ],
)
def test_a_relay_reaches_a_listener_and_is_known_there(
    family: socket.AddressFamily, host: str, dual: bool, at: str, families: set[socket.AddressFamily]
) -> None:
    with socket.create_server((host, 0), family=family, dualstack_ipv6=dual) as server:
        listener = Listener.of(server)
        assert listener.inode == os.fstat(server.fileno()).st_ino
        assert (listener.at.host, listener.at.port) == (at, server.getsockname()[1])
        assert listener.families == families
        relays = [relay_socket(listener) for _ in range(3)]
        sources = [from_name(relay.getsockname()) for relay in relays]
        for relay, source in zip(relays, sources, strict=True):
            with relay:
                relay.connect_ex(relay_target(listener))
                accepted, name = server.accept()
                with accepted:
                    assert from_name(name) == source == from_name(accepted.getpeername())
        assert len(set(sources)) == 3


def test_a_listener_of_the_network_is_reached_from_its_own_address() -> None:
    host = own_address()
    if host is None or host.startswith("127."):
        pytest.skip("this machine has no address but the loopback's")
    with socket.create_server((host, 0)) as server:
        listener = Listener.of(server)
        with relay_socket(listener) as relay:
            source = from_name(relay.getsockname())
            assert source.host == host
            relay.connect_ex(relay_target(listener))
            accepted, name = server.accept()
            accepted.close()
            assert from_name(name) == source


def test_a_relay_does_not_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, relay_socket(Listener.of(server)) as relay:
        assert not os.get_blocking(relay.fileno())
        assert not os.get_inheritable(relay.fileno())


def test_binding_gives_the_errno_of_the_kernel() -> None:
    with socket.socket() as one, socket.socket() as other:
        sockaddr = struct.pack("=H", V4) + bytes(2) + socket.inet_aton("127.0.0.1") + bytes(8)
        assert bind(one, sockaddr) == 0
        port = one.getsockname()[1]
        assert bind(one, sockaddr) == errno.EINVAL
        assert bind(other, with_port(sockaddr, port)) == errno.EADDRINUSE
        assert bind(other, sockaddr[:8]) == errno.EINVAL
        assert from_name(one.getsockname()) == Peer("127.0.0.1", port)
