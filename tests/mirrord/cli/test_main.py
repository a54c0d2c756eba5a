import subprocess
import sys

import pytest

from mirrord.__main__ import main


def test_errors_are_one_sentence_with_a_remedy_and_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["exec", "-t", "sandbox"]) == 2
    problem = "mirrord: no program was given; put it after the flags: mirrord exec -t sandbox -- PROGRAM\n"
    assert capfd.readouterr().err == problem


def imported(*arguments: str) -> set[str]:
    """Return the modules that are there when a command line has ended."""
    code = "import sys; from mirrord.__main__ import main\n"
    code += f"try: main({list(arguments)!r})\nexcept SystemExit: pass\n"
    code += "print(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("line", ["--help", "--version", "exec --help", "exec -t sandbox", "sandbox --help"])
def test_little_is_imported_for_an_answer_of_our_own(line: str) -> None:
    heavy = {
        "pydantic",
        "kubernetes",
        "asyncio",
        "websockets",
        "cryptography",
        "yaml",
        "jinja2",
        "rich",
        "ptrace",
    }
    assert not heavy & imported(*line.split())
