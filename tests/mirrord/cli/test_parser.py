import pytest

from mirrord.cli.parser import Parser
from mirrord.errors import UsageError


def test_errors_are_raised_and_abbreviations_unknown() -> None:
    parser = Parser("p", usage="p", description="d")
    parser.add_argument("--target")
    with pytest.raises(UsageError, match="see p --help"):
        parser.parse_args(["--targ", "x"])
