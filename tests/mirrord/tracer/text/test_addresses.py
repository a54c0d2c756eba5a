import socket
import struct

import pytest

from mirrord.link.addresses import Peer, pack
from mirrord.tracer.text.addresses import sockaddr

FAMILY = struct.Struct("=H")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            pack(Peer("10.1.2.3", 80), socket.AF_INET),
            '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.1.2.3")}',
        ),
        (
            pack(Peer("fd00::1", 53), socket.AF_INET6),
            "{sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), "
            'inet_pton(AF_INET6, "fd00::1", &sin6_addr), sin6_scope_id=0}',
        ),
        (FAMILY.pack(socket.AF_UNIX) + b"/run/x\0rest", '{sa_family=AF_UNIX, sun_path="/run/x"}'),
        (FAMILY.pack(socket.AF_UNIX) + b"\0name", '{sa_family=AF_UNIX, sun_path=@"name"}'),
        (FAMILY.pack(socket.AF_UNIX), "{sa_family=AF_UNIX}"),
        (
            struct.pack("=H2xII", socket.AF_NETLINK, 7, 0),
            "{sa_family=AF_NETLINK, nl_pid=7, nl_groups=00000000}",
        ),
        (FAMILY.pack(socket.AF_INET) + b"ab", '{sa_family=AF_INET, sa_data="ab"}'),
        (b"\x01", '{sa_data="\\1"}'),
    ],
)
def test_addresses_are_written_as_strace_does(data: bytes, text: str) -> None:
    assert sockaddr(data) == text
