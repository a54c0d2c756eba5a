import ipaddress
import subprocess
import sys

from mirrord_agent.interfaces import own_addresses

from .running import tool
from .test_linux import needs_root


def test_only_addresses_that_others_reach_are_told() -> None:
    for text in own_addresses():
        address = ipaddress.ip_address(text)
        assert not address.is_loopback
        assert not address.is_link_local


@needs_root
def test_the_preferred_come_first() -> None:
    tool("ip")
    script = f"""
        ip link add one type veth peer name two
        ip address add fd00::9/64 dev one nodad
        ip address add 10.9.0.2/24 dev one
        ip address add 10.9.0.3/24 dev one
        ip address add 10.8.0.1 peer 10.8.0.2 dev two
        ip link set lo up; ip link set one up; ip link set two up
        {sys.executable} -c 'from mirrord_agent.interfaces import own_addresses; print(*own_addresses())'
    """
    run = subprocess.run(
        [tool("unshare"), "-n", "sh", "-ec", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    first, *rest = run.stdout.split()
    # the interfaces of a pair are numbered in either order
    assert sorted([first, rest[0]]) == ["10.8.0.1", "10.9.0.2"]
    assert rest[1:] == ["10.9.0.3", "fd00::9"]
