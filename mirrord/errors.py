"""The errors that mirrord itself can meet, each a sentence with its remedy.

* :exc:`MirrordError` (exit 125)

  * :exc:`UsageError` (exit 2): the command line, a variable or a configuration file is wrong.
  * :exc:`TargetError`: the target cannot be found or entered.
  * :exc:`LaunchError`: the program could not be brought under the session.

    * :exc:`ProgramNotFound` (exit 127)
    * :exc:`ProgramNotExecutable` (exit 126)

  * :exc:`AttachError` (exit 1): a running process could not be brought under a session, or let go.
  * :exc:`LinkError`: the agent cannot be reached, or did not prove itself.
  * :exc:`KernelError`: this kernel lacks something that the session needs.

What the program under mirrord sees is never one of these: it sees an errno.
"""

from typing import ClassVar, Final

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_MIRRORD: Final = 125
EXIT_NOT_EXECUTABLE: Final = 126
EXIT_NOT_FOUND: Final = 127


class MirrordError(Exception):
    """Raised when mirrord cannot do what it was asked to.

    ``problem`` says what was found, ``remedy`` what to do about it; both are lower case sentences without a
    final stop.
    """

    exit_code: ClassVar[int] = EXIT_MIRRORD

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem: Final = problem
        self.remedy: Final = remedy

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


class UsageError(MirrordError):
    """Raised when the command line, an environment variable or a configuration file is wrong."""

    exit_code = EXIT_USAGE


class TargetError(MirrordError):
    """Raised when the target cannot be found or entered."""


class LaunchError(MirrordError):
    """Raised when the program could not be brought under the session."""


class ProgramNotFound(LaunchError):
    """Raised when there is no such program."""

    exit_code = EXIT_NOT_FOUND


class ProgramNotExecutable(LaunchError):
    """Raised when the program exists but the kernel will not, or we must not, execute it."""

    exit_code = EXIT_NOT_EXECUTABLE


class AttachError(MirrordError):
    """Raised when a running process could not be brought under a session, or let go; it is as it was."""

    exit_code = EXIT_REFUSED


class LinkError(MirrordError):
    """Raised when the agent cannot be reached or did not prove itself."""


class AgentGone(LinkError):
    """Raised when an agent is known to have ended, so that trying again is of no use."""


class KernelError(MirrordError):
    """Raised when this kernel lacks something that the session needs."""
