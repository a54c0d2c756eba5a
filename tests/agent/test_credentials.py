import os

import pytest
from mirrord_agent.credentials import Credentials, become

from .test_linux import in_thread, needs_root

STATUS = """Name:\tname: with colon
Umask:\t0022
Uid:\t1000\t1001\t1002\t1003
Gid:\t2000\t2001\t2002\t2003
Groups:\t4 24 27
CapInh:\t0000000000000000
CapPrm:\t000001ffffffffff
CapEff:\t0000000000000400
"""


def test_status_is_read() -> None:
    assert Credentials.of(STATUS) == Credentials(
        uids=(1000, 1001, 1002, 1003),
        gids=(2000, 2001, 2002, 2003),
        groups=frozenset({4, 24, 27}),
        effective=0x400,
        permitted=0x1FFFFFFFFFF,
    )


def test_ones_own_are_known() -> None:
    mine = Credentials.of_this_thread()
    assert mine.uids[:3] == os.getresuid()
    assert mine.gids[:3] == os.getresgid()
    assert mine.groups == set(os.getgroups())


def test_what_is_equal_needs_no_rights() -> None:
    mine = Credentials.of_this_thread()

    def again() -> None:
        become(mine)
        assert Credentials.of_this_thread() == mine

    in_thread(again)


@needs_root
def test_capabilities_are_not_gained() -> None:
    wanted = Credentials.of(STATUS)

    def limited() -> None:
        become(wanted)
        mine = Credentials.of_this_thread()
        assert (mine.uids, mine.gids, mine.groups) == (wanted.uids, wanted.gids, wanted.groups)
        assert mine.effective == 0x400

    def none() -> None:
        become(Credentials((5, 5, 5, 5), (5, 5, 5, 5), frozenset(), effective=0, permitted=0))
        with pytest.raises(PermissionError):
            become(wanted)

    in_thread(limited)
    in_thread(none)
