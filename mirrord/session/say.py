"""What mirrord says to its user: single lines on standard error, marked with its name.

``MIRRORD_PROGRESS_MODE`` sets the form: ``std`` (the default: on a terminal what is being done is shown while
it lasts), ``dumb`` (lines only), ``json`` (an object a line, as IDE plug-ins of the existing mirrord
read them), or ``off`` (nothing but warnings and errors).
"""

import os
import time
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from mirrord.errors import MirrordError, UsageError

if TYPE_CHECKING:
    import asyncio

_STDERR: Final = 2
_VARIABLE: Final = "MIRRORD_PROGRESS_MODE"
_TICK: Final = 0.2
_CLEAR: Final = "\r\x1b[K"
"""Back to the first column, and erase the line (ECMA-48, CR and EL)."""
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
"""The control characters of ASCII and ECMA-48 but tab and newline, and how they are shown."""
_WHOLE: Final = "mirrord exec"
"""What plug-ins know the whole start of a session by."""


class Form(Enum):
    """How things are said."""

    STD = "std"
    DUMB = "dumb"
    JSON = "json"
    OFF = "off"


_ALIASES: Final = {"standard": "std", "simple": "dumb", "": "std"}


def form(environ: Mapping[str, str] = os.environ) -> Form:
    """Return the form that the user wants; raise UsageError for an unknown one."""
    text = environ.get(_VARIABLE, "").strip().lower()
    try:
        return Form(_ALIASES.get(text, text))
    except ValueError:
        raise UsageError(f"`{_VARIABLE}` is `{text}`", remedy="use std, dumb, json or off") from None


def visible(text: str) -> str:
    """Return a text that only shows on a terminal: names and requests are others' words, which could be
    orders to it.
    """
    return text.translate(_CONTROL)


def say(text: str, *, kind: str = "Warning") -> None:
    """Write one line at once, so that it never mixes with the program's own lines; a closed standard error is
    no error of ours. ``kind`` is what plug-ins are told that it is.
    """
    _write(_object(kind, message=text) if _is_json() else f"mirrord: {visible(text)}\n")


def say_error(error: MirrordError) -> None:
    """Say what ends the command."""
    if not _is_json():
        _write(f"mirrord: {visible(str(error))}\n")
        return
    # not before it is needed: the front of a session says things, too
    import json

    described = {"message": error.problem, "severity": "error", "help": error.remedy or None}
    _write(f"Error: {json.dumps({**described, 'causes': [], 'labels': [], 'related': []})}\n")


def _is_json() -> bool:
    return os.environ.get(_VARIABLE) == Form.JSON.value


def _object(kind: str, **values: Any) -> str:
    import json

    return json.dumps({"type": kind, **values}) + "\n"


def _write(text: str) -> None:
    try:
        os.write(_STDERR, text.encode("utf-8", "surrogateescape"))
    except OSError:
        # the reader of a pipe has gone, or the terminal: there is nobody left to tell
        return


class Sayings:
    """Says each thing once, at the loudness that was asked for, and how far the start of a session is."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        """Raise UsageError if the user wants an unknown form."""
        self._form: Final = form()
        self._quiet: Final = quiet or self._form is Form.OFF
        self._verbose: Final = verbose
        self._live: Final = self._form is Form.STD and not quiet and os.isatty(_STDERR)
        self._said: Final[set[str]] = set()
        self._began: Final = time.monotonic()
        self._step: _Step | None = None
        self._taken: Final[list[str]] = []

    def info(self, text: str) -> None:
        """Say what is normal, unless quiet."""
        if not self._quiet:
            self._say(text, "Info")

    def detail(self, text: str) -> None:
        """Say what only ``-v`` asks for; the same thing only once."""
        if self._verbose and text not in self._said:
            self._said.add(text)
            self._say(text, "Info")

    def warn(self, text: str) -> None:
        """Say, even when quiet, what the user must know; the same thing only once. From any thread."""
        if text not in self._said:
            self._said.add(text)
            self._say(text, "Warning")

    def _say(self, text: str, kind: str) -> None:
        if self._step is not None and self._live:
            _write(_CLEAR)
            say(text)
            self._step.show()
        else:
            say(text, kind=kind)

    # The start of a session.

    def step(self, doing: str, purpose: str) -> None:
        """Say what is done now, which ends what was done before; ``purpose`` says what it was for, when it is
        told how long it took. Nothing, if that is what is being done already.
        """
        if self._step is not None and self._step.doing == doing:
            return
        if self._form is Form.JSON and not self._taken and self._step is None:
            _write(_object("NewTask", name=_WHOLE, parent=None))
        self._end_step(success=True)
        self._step = step = _Step(doing, purpose)
        if self._form is Form.JSON:
            _write(_object("NewTask", name=doing, parent=_WHOLE))
        elif self._live:
            step.start()
        elif not self._quiet:
            say(doing)

    def go_on(self, doing: str, purpose: str) -> None:
        """Say what is done now, if what was done before was worth to be said."""
        if self._step is not None:
            self.step(doing, purpose)

    def ready(self) -> None:
        """Say that the session has started, and how long each step took."""
        self._end_step(success=True)
        if self._taken:
            text = f"ready after {time.monotonic() - self._began:.2f} s: {', '.join(self._taken)}"
            if self._form is Form.JSON:
                _write(_object("FinishedTask", name=_WHOLE, success=True, message=text))
            else:
                self.info(text)

    def failed(self) -> None:
        """Take note that the session does not start."""
        self._end_step(success=False)
        if self._form is Form.JSON and self._taken:
            _write(_object("FinishedTask", name=_WHOLE, success=False, message=None))

    def _end_step(self, *, success: bool) -> None:
        if (step := self._step) is None:
            return
        self._step = None
        step.stop()
        self._taken.append(f"{time.monotonic() - step.began:.2f} s {step.purpose}")
        if self._form is Form.JSON:
            _write(_object("FinishedTask", name=step.doing, success=success, message=self._taken[-1]))
        elif self._live:
            _write(_CLEAR)


class _Step:
    """Something that is being done, and the line that shows it on a terminal."""

    def __init__(self, doing: str, purpose: str) -> None:
        self.doing: Final = doing
        self.purpose: Final = purpose
        self.began: Final = time.monotonic()
        self._tick: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Show it, and how long it takes, if there is an event loop."""
        import asyncio

        self.show()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._tick = loop.call_later(_TICK, self.start)

    def show(self) -> None:
        """Write the line, without an end."""
        seconds = int(time.monotonic() - self.began)
        _write(f"{_CLEAR}mirrord: {visible(self.doing)}{f' … {seconds} s' if seconds else ''}")

    def stop(self) -> None:
        """Show it no more."""
        if self._tick is not None:
            self._tick.cancel()
