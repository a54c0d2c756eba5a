from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from mirrord.tracer.spin import Spin

NOTHING = (0, 0)


class Looks:
    """Finds something at the look of that number."""

    def __init__(self, at: int) -> None:
        self.count = 0
        self._at = at

    def __call__(self) -> tuple[int, int]:
        self.count += 1
        return (self._at, 7) if self.count == self._at else NOTHING


def test_what_comes_soon_is_found_without_sleeping() -> None:
    spin, looks = Spin(), Looks(1)
    assert spin.wait(looks, ()) == (1, 7)
    assert looks.count == 1


def test_an_answer_ends_the_looking() -> None:
    spin, looks = Spin(), Looks(1000)
    assert spin.wait(looks, ["answer"]) is None
    assert looks.count == 1


def test_looking_is_bounded_and_learns_that_it_is_in_vain() -> None:
    spin = Spin()
    counts = list(_in_vain(spin, 12))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] <= 2


def _in_vain(spin: Spin, times: int) -> Iterator[int]:
    for _ in range(times):
        looks = Looks(0)
        assert spin.wait(looks, ()) is None
        yield looks.count


def test_it_learns_again_that_it_is_worth_it() -> None:
    spin = Spin()
    list(_in_vain(spin, 10))
    for _ in range(10):
        assert spin.wait(Looks(1), ())
    assert spin.wait(Looks(50), ()) == (50, 7)


@given(st.lists(st.integers(0, 100), max_size=50))
def test_it_never_looks_too_often(when: list[int]) -> None:
    spin = Spin()
    for at in when:
        looks = Looks(at)
        found = spin.wait(looks, ())
        assert looks.count <= 64
        assert (found is not None) == (looks.count == at)
