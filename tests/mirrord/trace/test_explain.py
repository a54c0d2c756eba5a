import socket
import struct
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.config.load import resolve
from mirrord.config.options import ExecOptions
from mirrord.feed.models import Note, Rules
from mirrord.link.addresses import Peer, pack
from mirrord.trace.explain import Explainer, plane_of
from mirrord.tracer.record import Answer, Area, CallRecord
from mirrord.tracer.text.memory import Memory

AT_FDCWD = 2**64 - 100


def explainer(tmp_path: Path, feature: str = "{}", *, target: bool = True) -> Explainer:
    config = tmp_path / "mirrord.json"
    config.write_text(f'{{"target": "sandbox", "feature": {feature}}}')
    settings = resolve(ExecOptions(program=("/bin/true",), config_file=str(config)), {}, cwd=tmp_path)
    return Explainer(Rules.of(settings, ["/bin/true"], search=()), target=target)


def record(name: str, *args: int, data: bytes, **fields: Any) -> CallRecord:
    called = number(name, current_arch())
    assert called is not None
    six = (*args, 0, 0, 0, 0, 0, 0)
    wanted = {"answer": Answer.CONTINUED, "held": False, "result": 0, **fields}
    return CallRecord(
        tid=1,
        number=called,
        args=(six[0], six[1], six[2], six[3], six[4], six[5]),
        began=0,
        ended=0,
        areas=(Area(0x1000, data),),
        **wanted,
    )


def why(one: Explainer, call: CallRecord) -> tuple[str, str, str]:
    return one.why(call, Memory(call.areas))


def opened(path: bytes, flags: int = 0, **fields: Any) -> CallRecord:
    return record("openat", AT_FDCWD, 0x1000, flags, data=path + b"\0", **fields)


def connected(peer: Peer, **fields: Any) -> CallRecord:
    return record("connect", 3, 0x1000, 16, data=pack(peer, socket.AF_INET), **fields)


def test_files_go_by_their_rules(tmp_path: Path) -> None:
    one = explainer(tmp_path)
    given = {"answer": Answer.GAVE_FD, "held": True}
    assert why(one, opened(b"/app/x", **given))[:2] == ("files", "remote")
    assert "mode is `read`" in why(one, opened(b"/app/x", **given))[2]
    assert why(one, opened(b"/usr/lib/x"))[:2] == ("files", "local")
    # a process that is left alone
    assert why(one, opened(b"/app/x"))[1] == "local"
    assert "left to the kernel" in why(one, opened(b"/app/x"))[2]
    assert why(one, opened(b"relative"))[1:] == ("local", "it is relative")


def test_destinations_go_by_the_filter_and_known_names(tmp_path: Path) -> None:
    one = explainer(tmp_path, '{"network": {"outgoing": {"filter": {"remote": ["tcp://web:80"]}}}}')
    web, waiting = Peer("10.9.8.7", 80), {"held": True}
    assert "nothing in" in why(one, connected(web))[2]
    response = dns.message.make_response(dns.message.make_query("web", "A"))
    response.answer.append(dns.rrset.from_text("web.", 60, "IN", "A", web.host))
    one.learn(Note(time=0, kind="answer", text="", packet=response.to_wire().hex()))
    assert why(one, connected(web, **waiting)) == (
        "outgoing",
        "remote",
        "`feature.network.outgoing.filter.remote` has `tcp://web:80`",
    )


def test_questions_are_of_the_names_plane(tmp_path: Path) -> None:
    call = connected(Peer("10.96.0.10", 53), answer=Answer.RETURNED)
    assert why(explainer(tmp_path), call) == ("names", "remote", "names are resolved in the target")


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_NETLINK, socket.AF_UNSPEC])
def test_other_addresses_have_a_reason_too(tmp_path: Path, family: int) -> None:
    call = record("connect", 3, 0x1000, 16, data=struct.pack("=H14x", family))
    assert why(explainer(tmp_path), call)[2]


def test_without_a_target_everything_is_local(tmp_path: Path) -> None:
    one = explainer(tmp_path, target=False)
    assert why(one, opened(b"/app/x"))[1:] == ("local", "there is no target: everything is local")


@pytest.mark.parametrize(
    ("name", "plane"),
    [
        ("openat", "files"),
        ("connect", "outgoing"),
        ("accept4", "incoming"),
        ("uname", "names"),
        ("execve", "process"),
    ],
)
def test_every_call_has_a_plane(name: str, plane: str) -> None:
    assert plane_of(name) == plane
