import os
import socket

from mirrord.dispatch.names import Names
from mirrord.syscall import Return

from .fakes import PAGE, FakeCall, Stage, Theatre


def uname(stage: Stage) -> list[bytes]:
    verdict = Names(stage.world).uname(FakeCall(PAGE))
    assert isinstance(verdict, Return)
    ((address, data),) = verdict.writes
    assert (verdict.value, address, len(data)) == (0, PAGE, 6 * 65)
    return [data[at : at + 65].partition(b"\0")[0] for at in range(0, len(data), 65)]


def test_uname_is_this_machines_with_the_targets_name(stage: Stage) -> None:
    local = os.uname()
    assert uname(stage)[:5] == [
        os.fsencode(field) for field in (local.sysname, "pod-1", local.release, local.version, local.machine)
    ]


def test_a_long_name_is_cut_to_its_field(theatre: Theatre) -> None:
    assert uname(theatre.stage(hostname=b"x" * 80))[1] == b"x" * 64


def test_without_a_host_name_nothing_is_trapped(theatre: Theatre) -> None:
    assert Names(theatre.stage(hostname=None).world).rows() == []
    assert [row.rule.syscall for row in Names(theatre.stage().world).rows()] == ["uname"]


def test_this_process_keeps_its_own_name(stage: Stage) -> None:
    before = socket.gethostname()
    uname(stage)
    assert socket.gethostname() == before
