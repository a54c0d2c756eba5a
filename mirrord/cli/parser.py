"""argparse with mirrord's way of reporting errors."""

import argparse
from typing import NoReturn

from mirrord.errors import UsageError


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError.

    It takes no abbreviations: they would change their meaning as flags are added.
    """

    def __init__(self, prog: str, *, usage: str, description: str) -> None:
        super().__init__(
            prog,
            usage,
            description,
            allow_abbrev=False,
            add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("-h", "--help", action="help", help="show this")

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message, remedy=f"see {self.prog} --help")
