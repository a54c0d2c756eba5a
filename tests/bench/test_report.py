"""The bench's table, its verdicts, and the document that keeps them."""

from pathlib import Path

from bench.report import Budget, Line, compared, record, table
from bench.sample import Samples


def _samples(name: str, value: float, unit: str = "s") -> Samples:
    return Samples(name, unit, [value])


def test_one_is_what_the_others_are_compared_to() -> None:
    native, ours = _samples("native", 2.0), _samples("mirrord", 3.0)
    first, second = compared("row", [native, ours], budget=Budget(1.25, "≤ 1.25 ×"))
    assert first.cells() == ("row", "native", "2.00 s", "", "", "", "")
    assert second.cells()[4:] == ("1.5 × native", "≤ 1.25 ×", "missed, 1.20 × the budget")


def test_a_budget_may_be_a_value() -> None:
    line = Line("row", _samples("agent", 39.0, "MiB"), budget=Budget(40, "≤ 40 MiB", of_ratio=False))
    assert line.cells()[-1] == "met"


def test_a_budget_may_be_the_least_allowed() -> None:
    assert Budget(1.7, "≥ 1.7 ×", at_least=True).verdict(2.0) == "met"


def test_the_table_is_aligned() -> None:
    lines = table([Line("row", _samples("a long name", 1.0)), Line("row", _samples("b", 2.0))]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert set(lines[1]) == {"|", "-"}


def test_a_record_keeps_what_was_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(
        "# Before\n<!-- results: written by `python -m bench --record` -->\n<!-- end of results -->\nafter\n"
    )
    record(path, [Line("first", _samples("x", 1.0)), Line("second", _samples("x", 2.0))])
    record(path, [Line("second", _samples("x", 3.0))])
    text = path.read_text()
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["row", "measured", "median"],
        ["second", "x", "3.00 s"],
        ["first", "x", "1.00 s"],
    ]
    assert text.startswith("# Before\n")
    assert text.endswith("after\n")
