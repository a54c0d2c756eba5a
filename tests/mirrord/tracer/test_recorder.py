import os

from mirrord.syscall import CONTINUE, Return
from mirrord.tracer.record import CallRecord, ThreadRecord
from mirrord.tracer.recorder import Recorder, look_at

from ...support.recording import HERE, OPENAT, PATH, Memory, begun, records


def test_a_thread_is_told_before_its_first_call() -> None:
    recorder, memory = Recorder([OPENAT]), Memory()
    for _ in range(2):
        begun(recorder, memory).answered(CONTINUE, 0)
    thread, first, second = records(recorder)
    assert isinstance(thread, ThreadRecord)
    assert (thread.pid, thread.parent) == (os.getpid(), os.getppid())
    assert isinstance(first, CallRecord)
    assert isinstance(second, CallRecord)
    recorder.forget(HERE)
    begun(recorder, memory).answered(CONTINUE, 0)
    assert isinstance(records(recorder)[0], ThreadRecord)


def test_a_held_call_keeps_its_place() -> None:
    recorder, memory = Recorder([OPENAT]), Memory()
    held = begun(recorder, memory, path=PATH)
    held.answering()
    begun(recorder, memory).answered(Return(2), 2)
    held.answered(Return(1), 1)
    _, first, second = records(recorder)
    assert isinstance(first, CallRecord)
    assert isinstance(second, CallRecord)
    assert [(first.result, first.held), (second.result, second.held)] == [(1, True), (2, False)]


def test_a_full_queue_drops_and_counts() -> None:
    recorder, memory = Recorder([OPENAT], most=3), Memory()
    for _ in range(10):
        begun(recorder, memory).answered(CONTINUE, 0)
    assert len(records(recorder)) == 3
    assert recorder.dropped == 8


def test_who_comes_later_is_told_of_threads_again() -> None:
    recorder, memory = Recorder([OPENAT]), Memory()
    begun(recorder, memory).answered(CONTINUE, 0)
    recorder.start_over()
    begun(recorder, memory).answered(CONTINUE, 0)
    assert [type(record) for record in records(recorder)] == [ThreadRecord, CallRecord]


def test_a_thread_that_is_gone_is_not_known() -> None:
    assert look_at(2**22 - 1) is None
