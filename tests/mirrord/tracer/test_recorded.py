import errno

import pytest
from mirrord_seccomp.notify import NotificationId
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.syscall import CONTINUE, Fail, Fault, GiveFd, Return, Tid
from mirrord.tracer import closer
from mirrord.tracer.record import MOST_OF_AN_AREA, Answer, CallRecord
from mirrord.tracer.recorded import RecordedCall
from mirrord.tracer.recorder import Recorder

from ...support.recording import HERE, OPENAT, PATH, Memory, begun, records

UNAME = number("uname", current_arch()) or 0


def test_what_the_handler_has_read_is_not_read_again() -> None:
    recorder, memory = Recorder([OPENAT]), Memory()
    call = begun(recorder, memory)
    call.string(PATH)
    call.look_closer()
    call.answered(CONTINUE, 0)
    assert memory.asked == 1
    record = records(recorder)[-1]
    assert isinstance(record, CallRecord)
    assert [area.data for area in record.areas] == [b"/a/path\0"]


def test_what_no_handler_has_read_is_read() -> None:
    recorder, memory = Recorder([OPENAT]), Memory()
    call = begun(recorder, memory)
    call.look_closer()
    call.answered(CONTINUE, 0)
    assert memory.asked == 1


def test_what_the_kernel_runs_is_packed_when_it_is_taken() -> None:
    recorder, memory = Recorder([OPENAT]), Memory()
    plain, rich = begun(recorder, memory), begun(recorder, memory)
    plain.string(PATH)
    plain.continued()
    for _ in range(2):
        rich.string(PATH)
    rich.here(PATH, b"/tree/path")
    rich.continued()
    bare = begun(recorder, memory, path=1)
    bare.continued()
    _, first, second, third = records(recorder)
    assert isinstance(first, CallRecord)
    assert isinstance(second, CallRecord)
    assert isinstance(third, CallRecord)
    assert (first.answer, first.number, first.tid, first.args) == (Answer.CONTINUED, OPENAT, HERE, plain.args)
    assert [len(one.areas) for one in (first, second, third)] == [1, 2, 0]
    assert {area.data for one in (first, second) for area in one.areas} == {b"/a/path\0"}
    assert [len(one.here) for one in (first, second, third)] == [0, 1, 0]
    assert first.began <= first.ended <= second.ended


def test_a_bad_pointer_is_no_error() -> None:
    recorder, memory = Recorder([OPENAT]), Memory()
    call = begun(recorder, memory, path=1)
    call.look_closer()
    call.answered(Fail(errno.EFAULT), -errno.EFAULT)
    record = records(recorder)[-1]
    assert isinstance(record, CallRecord)
    assert (record.answer, record.areas) == (Answer.FAILED, ())


@pytest.mark.parametrize(
    ("verdict", "result", "answer"),
    [
        (CONTINUE, 0, Answer.CONTINUED),
        (Return(7), 7, Answer.RETURNED),
        (Return(0, ((1, b""),)), -errno.EFAULT, Answer.FAILED),
        (Fail(errno.EROFS), -errno.EROFS, Answer.FAILED),
        (GiveFd(9, True), 4, Answer.GAVE_FD),
        (GiveFd(9, True), -errno.EMFILE, Answer.FAILED),
    ],
)
def test_the_answer_is_what_the_program_got(
    verdict: Return | Fail | GiveFd, result: int, answer: Answer
) -> None:
    recorder = Recorder([OPENAT])
    begun(recorder, Memory()).answered(verdict, result)
    record = records(recorder)[-1]
    assert isinstance(record, CallRecord)
    assert (record.answer, record.result, record.held) == (answer, result, False)


def test_no_call_waits_for_the_readers_to_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, memory = Recorder([OPENAT]), Memory()
    recorder.start_over()
    monkeypatch.setattr(closer, "readers", lambda _: pytest.fail("made on a trap"))
    call = begun(recorder, memory)
    call.look_closer()
    assert memory.asked == 1


UNAME_SIZE = 390


class Filled(Memory):
    """Threads whose memory has what uname(2) fills, too."""

    def read(self, tid: int, call: NotificationId, address: int, size: int) -> bytes:
        if address != PATH:
            raise Fault
        return bytes(size)


@pytest.mark.parametrize(
    ("result", "answer", "known", "failed", "areas"),
    [
        (0, Answer.RAN, True, False, [UNAME_SIZE]),
        (-errno.EFAULT, Answer.RAN, True, True, []),
        (-512, Answer.RAN, False, False, []),
        (None, Answer.CONTINUED, False, False, []),
    ],
)
def test_what_the_kernel_gives_is_noted(
    result: int | None, answer: Answer, known: bool, failed: bool, areas: list[int]
) -> None:
    recorder = Recorder([UNAME], results=True)
    call = RecordedCall(NotificationId(1), Tid(HERE), UNAME, (PATH, 0, 0, 0, 0, 0), Filled(), recorder)
    told = call.result_of(CONTINUE)
    assert told is not None
    told(result)
    record = records(recorder)[-1]
    assert isinstance(record, CallRecord)
    assert (record.answer, record.known, record.failed) == (answer, known, failed)
    assert [min(size, MOST_OF_AN_AREA) for size in areas] == [len(area.data) for area in record.areas]


def test_results_are_told_only_of_what_the_kernel_runs_and_where_they_are_wanted() -> None:
    assert begun(Recorder([OPENAT], results=True), Memory()).result_of(Fail(errno.EROFS)) is None
    assert begun(Recorder([OPENAT]), Memory()).result_of(CONTINUE) is None
