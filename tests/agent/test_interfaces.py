import ipaddress
import shutil
import subprocess
import sys

import pytest
from mirrord_agent.interfaces import own_addresses

from .test_linux import needs_root


def test_only_addresses_that_others_reach_are_told() -> None:
    for text in own_addresses():
        address = ipaddress.ip_address(text)
        assert not (address.is_loopback or address.is_link_local)


@needs_root
@pytest.mark.skipif(
    shutil.which("unshare") is None or shutil.which("ip") is None, reason="needs unshare and ip"
)
def test_the_preferred_come_first() -> None:
    script = f"""
        ip link add a type veth peer name b
        ip address add fd00::9/64 dev a nodad
        ip address add 10.9.0.2/24 dev a
        ip address add 10.9.0.3/24 dev a
        ip address add 10.8.0.1 peer 10.8.0.2 dev b
        ip link set lo up; ip link set a up; ip link set b up
        {sys.executable} -c 'from mirrord_agent.interfaces import own_addresses; print(*own_addresses())'
    """
    run = subprocess.run(["unshare", "-n", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["10.8.0.1", "10.9.0.2", "10.9.0.3", "fd00::9"], run.stderr
