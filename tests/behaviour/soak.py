"""How much of everything: few by default, all of it with MIRRORD_SOAK=1."""

import os
from typing import Final

SOAK: Final = os.environ.get("MIRRORD_SOAK") == "1"
BULK: Final = 1 << 30 if SOAK else 48 << 20
"""Bytes sent each way."""
SLOW_BULK: Final = 1 << 30 if SOAK else 16 << 20
"""The same, with a slow reader."""
CONNECTIONS: Final = 10_000 if SOAK else 1_000
"""Connections at once."""
ATTACHES: Final = 100 if SOAK else 5
"""Sessions of one process, one after another."""
ROUNDS: Final = 1_000 if SOAK else 20
"""Repetitions of a few calls under a stream of signals."""
STORMS: Final = 50 if SOAK else 1
"""How often the stress of processes is run."""
STORM: Final = 60 if SOAK else 10
"""Seconds of each."""
KILLS: Final = 100 if SOAK else 5
"""Sessions that are killed under traffic."""
BODY: Final = 1 << 30 if SOAK else 96 << 20
"""Bytes of a body."""
MOMENTS: Final = 100 if SOAK else 2
"""Sessions that are killed at some moment."""
