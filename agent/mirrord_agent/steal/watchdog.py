"""``python -m mirrord_agent.steal.watchdog LEVEL COMMAND...``: remove an agent's chains when it has ended.

Standard input ends when the agent does, by whatever cause; signals that end whole containers are blocked. The
level's lock was inherited, and stays held until this process ends: nobody takes the level before its chains
are gone.
"""

import os
import sys

from mirrord_agent.errors import AgentError
from mirrord_agent.steal.iptables import Family, remove
from mirrord_agent.steal.level import LevelNumber


def main() -> int:
    """Wait, remove; return the exit status."""
    level, *commands = sys.argv[1:]
    while os.read(sys.stdin.fileno(), 1):
        continue
    try:
        remove([Family(command) for command in commands], LevelNumber(int(level)))
    except AgentError as error:
        print(f"mirrord-agent: chains of level {level} are left: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
