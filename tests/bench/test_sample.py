"""What the bench computes from what its programs print."""

import pytest

from bench.sample import Samples, parse, quantile, quantity


def test_numbers_of_one_name_are_gathered() -> None:
    assert parse("took 1.5\nother 2\ntook 2.5 3\n") == {"took": [1.5, 2.5, 3.0], "other": [2.0]}


@pytest.mark.parametrize("output", ["", "\n \n"])
def test_nothing_printed_is_an_error(output: str) -> None:
    with pytest.raises(ValueError, match="nothing"):
        parse(output)


def test_words_are_an_error() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        parse("took long\n")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.2345, "s", "1.23 s"),
        (0.0123, "s", "12.3 ms"),
        (45.6e-6, "s", "45.6 µs"),
        (0.15e-9, "s", "0.150 ns"),
        (0.0, "s", "0 ns"),
        (1234.0, "MB/s", "1234 MB/s"),
        (4.5, "KiB", "4.50 KiB"),
    ],
)
def test_quantities_have_the_unit_that_fits(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_quantiles_are_interpolated() -> None:
    assert [quantile([3, 1, 2], share) for share in (0.0, 0.5, 0.75, 1.0)] == [1, 2, 2.5, 3]


def test_median_and_spread() -> None:
    samples = Samples("thing", values=[1.0, 2.0, 3.0])
    assert samples.median == 2.0
    assert samples.spread == "0.60–1.40"


def test_the_median_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="thing"):
        _ = Samples("thing").median
