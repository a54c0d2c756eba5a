import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.tracer.record import (
    CALL_KIND,
    LOCAL_SIZE,
    MOST_OF_AN_AREA,
    PATH,
    Answer,
    Area,
    CallRecord,
    ThreadRecord,
    pack_call,
    pack_path,
    pack_thread,
    unpack,
)

U64 = st.integers(0, 2**64 - 1)
ARGS = st.tuples(U64, U64, U64, U64, U64, U64)
AREAS = st.lists(st.tuples(U64, st.binary(max_size=MOST_OF_AN_AREA)), max_size=5)


@given(
    args=ARGS,
    answer=st.sampled_from(Answer),
    held=st.booleans(),
    result=st.integers(-(2**63), 2**63 - 1),
    path=st.none() | st.tuples(U64, st.binary(max_size=5000)),
    read=AREAS,
    written=AREAS,
    here=AREAS,
)
def test_what_is_packed_is_unpacked(
    args: tuple[int, int, int, int, int, int],
    answer: Answer,
    held: bool,
    result: int,
    path: tuple[int, bytes] | None,
    read: list[tuple[int, bytes]],
    written: list[tuple[int, bytes]],
    here: list[tuple[int, bytes]],
) -> None:
    packed = pack_call(
        tid=7,
        number=257,
        args=args,
        answer=answer,
        held=held,
        result=result,
        began=1,
        ended=2**60,
        path=path,
        read=read,
        written=tuple(written),
        here=tuple(here),
    )
    thread = ThreadRecord(tid=7, pid=5, parent=1, name="a (name\udcff")
    seen = [(path[0], path[1] + b"\0"), *read] if path is not None else read
    areas = (*(Area(at, data) for at, data in seen), *(Area(at, data, written=True) for at, data in written))
    call = CallRecord(
        tid=7,
        number=257,
        args=args,
        answer=answer,
        held=held,
        result=result,
        began=1,
        ended=2**60,
        areas=areas,
        here=tuple(Area(at, data) for at, data in here),
    )
    assert list(unpack(pack_thread(thread) + packed + pack_thread(thread))) == [thread, call, thread]


@given(args=ARGS, address=U64, data=st.binary(max_size=5000))
def test_the_short_way_of_packing_makes_the_same(
    args: tuple[int, int, int, int, int, int], address: int, data: bytes
) -> None:
    packed = pack_call(
        tid=7,
        number=257,
        args=args,
        answer=Answer.CONTINUED,
        held=False,
        result=0,
        began=1,
        ended=2,
        path=(address, data),
        read=(),
        written=(),
    )
    size = len(data)
    head = pack_path(LOCAL_SIZE + size, CALL_KIND, 0, 1, 7, 257, 1, 2, 0, *args, address, size, PATH)
    assert head + data == packed


def test_of_what_was_written_only_the_start_is_kept() -> None:
    packed = pack_call(
        tid=1,
        number=0,
        args=(0, 0, 0, 0, 0, 0),
        answer=Answer.RETURNED,
        held=False,
        result=0,
        began=0,
        ended=0,
        read=[],
        written=((1, bytes(10 * MOST_OF_AN_AREA)),),
    )
    (record,) = unpack(packed)
    assert isinstance(record, CallRecord)
    assert len(record.areas[0].data) == MOST_OF_AN_AREA


@given(st.binary(min_size=1, max_size=200))
def test_other_bytes_are_refused_or_are_records(data: bytes) -> None:
    try:
        records = list(unpack(data))
    except ValueError:
        return
    assert records


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_what_is_cut_short_is_refused(cut: int) -> None:
    packed = pack_thread(ThreadRecord(tid=7, pid=5, parent=1, name="name"))
    with pytest.raises(ValueError):
        list(unpack(packed[:-cut]))
