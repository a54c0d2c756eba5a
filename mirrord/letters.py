"""What stands for a character where only a few can be shown."""

from typing import Final

_IN_ASCII: Final = str.maketrans(
    "╭╮╰╯─│└├┬┤▏…▶∅→↑↓×–µ▁▂▃▄▅▆▇█✓“”‘’⁶¹",
    "++++-|`|+||~>0>^vx-u.:-=+*%#+\"\"''61",
)


def in_ascii(text: str) -> str:
    """Return a text in ASCII that takes as much room on a terminal."""
    from rich.cells import cell_len

    return "".join(one if one.isascii() else "?" * cell_len(one) for one in text.translate(_IN_ASCII))


def instead(error: UnicodeError) -> tuple[str, int]:
    """Return what is written for what an encoding does not have, and where to go on: an error handler of
    ``codecs``.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return in_ascii(error.object[error.start : error.end]), error.end
