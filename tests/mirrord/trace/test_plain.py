import pytest

from mirrord.trace.plain import duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(5e-6, "5 µs"), (0.0123, "12.3 ms"), (2.345, "2.35 s"), (0.0, "0 µs")]
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text
