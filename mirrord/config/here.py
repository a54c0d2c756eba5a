"""The directory that a session starts in."""

import os


def working_directory() -> bytes:
    """Return it, ``/`` where it has been deleted: a program runs there all the same, and no rule names it."""
    try:
        return os.getcwdb()
    except FileNotFoundError:
        return b"/"
