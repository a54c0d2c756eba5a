from mirrord_seccomp.syscalls import current_arch, number

from mirrord.link.addresses import Peer, pack
from mirrord.tracer.record import Answer, Area, CallRecord
from mirrord.tracer.text import call
from mirrord.tracer.text.memory import Memory

RECORD = CallRecord(
    tid=1,
    number=number("openat", current_arch()) or 0,
    args=(2**64 - 100, 0x1000, 0, 0, 0, 0),
    answer=Answer.GAVE_FD,
    held=True,
    result=3,
    began=0,
    ended=1,
    areas=(Area(0x1000, b"/app/x\0"),),
)


def rewritten(record: CallRecord) -> dict[int, call.Rewritten]:
    return call.rewritten(record, Memory(record.areas))


def test_what_was_given_became_something_else_here() -> None:
    assert rewritten(RECORD) == {}
    assert rewritten(RECORD._replace(here=(Area(0x1000, b"/tree/x"),))) == {1: ('"/app/x"', '"/tree/x"')}
    assert rewritten(RECORD._replace(here=(Area(0x1000, b"/app/x"),))) == {}


def test_what_is_got_was_something_else_here() -> None:
    here, there = (pack(Peer(host, 7), 2) for host in ("127.0.0.1", "10.1.1.1"))
    size = (16).to_bytes(4, "little")
    record = RECORD._replace(
        number=number("getpeername", current_arch()) or 0,
        args=(5, 0x1000, 0x2000, 0, 0, 0),
        answer=Answer.RETURNED,
        result=0,
        areas=(Area(0x2000, size), Area(0x1000, there, written=True), Area(0x2000, size, written=True)),
        here=(Area(0x1000, here),),
    )
    ((place, (was, became)),) = rewritten(record).items()
    assert place == 1
    assert "127.0.0.1" in was
    assert "10.1.1.1" in became


def test_results_and_errors() -> None:
    def text(answer: Answer, result: int) -> tuple[str, str | None]:
        record = RECORD._replace(answer=answer, result=result)
        return call.result(record), call.error_name(record)

    assert text(Answer.CONTINUED, 0) == ("?", None)
    assert text(Answer.RAN, 0) == ("0", None)
    assert text(Answer.RAN, -2) == ("-1 ENOENT (No such file or directory)", "ENOENT")
    assert text(Answer.RAN, -512) == ("? ERESTARTSYS (To be restarted if SA_RESTART is set)", "ERESTARTSYS")
