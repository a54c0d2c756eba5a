"""The table of system calls in the documentation is the one that sessions run by."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_up_to_date() -> None:
    module = runpy.run_path(str(DOCS / "make_syscalls.py"), run_name="docs")
    assert (DOCS / "syscalls.md").read_text(encoding="utf-8") == module["page"](), (
        "run: .venv/bin/python docs/make_syscalls.py"
    )
