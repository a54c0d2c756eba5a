"""The watchdog by itself."""

import subprocess
import sys

from mirrord_agent.steal.iptables import Family

from ..namespace import in_namespace
from ..running import tool


def _start(*commands: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mirrord_agent.steal.watchdog", "5", *commands],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@in_namespace
def test_it_removes_its_level_and_no_other_when_its_input_ends() -> None:
    family = Family(tool("iptables-nft"))
    family.load([":MIRRORD_5_OUT - [0:0]", ":MIRRORD_6_OUT - [0:0]", "-A OUTPUT -p tcp -j MIRRORD_5_OUT"])
    _, said = _start("iptables-nft").communicate(b"anything")
    assert said == b""
    assert "MIRRORD_5" not in family.list()
    assert "MIRRORD_6_OUT" in family.list()


@in_namespace
def test_it_says_what_is_left() -> None:
    process = _start("iptables-none")
    _, said = process.communicate()
    assert process.returncode == 1
    assert b"chains of level 5 are left: iptables-none is not installed here" in said
