"""How thorough a run is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    quick: bool = False

    def rounds(self, usual: int) -> int:
        """Return how often everything of a row is measured in turn."""
        return min(usual, 3) if self.quick else usual

    def count(self, usual: int) -> int:
        """Return how often something is done in one measurement."""
        return max(1, usual // 4) if self.quick else usual
