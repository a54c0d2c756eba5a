"""Whose file a path names: the rules of ``feature.fs``, compiled.

The order is the existing mirrord's, first hit wins: the user's ``not_found``, ``read_write``, ``read_only``,
``local``; then what is built in: absent, remote for reading, local; then the mode. ``mapping`` comes before
all of it. The user's patterns are case-insensitive searches. What is built in lives in
:mod:`mirrord.config.builtin`.
"""

import enum
import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Self

from mirrord.config.builtin import BuiltIn
from mirrord.config.features import Fs
from mirrord.config.model import Settings
from mirrord.config.patterns import compile_pattern, compile_replacement

MEMO_LIMIT: Final = 16_384
"""Paths remembered for each of reading and writing; some 5 MB together with their decisions when full."""


class Side(enum.Enum):
    """Where a path is looked up."""

    LOCAL = "local"
    REMOTE = "remote, read only"
    REMOTE_READ_WRITE = "remote"
    NOT_FOUND = "absent"


class Decision(NamedTuple):
    """What was decided for a path."""

    side: Side
    rule: str
    """The rule that decided, for people."""
    path: bytes
    """The path that was decided on: absolute, lexically normalised, mapped."""
    use: bytes = b""
    """The path to use on that side."""
    as_asked: bool = True
    """Whether that is the path as it was asked for, which the kernel can then resolve itself."""
    magic: bool = False
    """Whether it leads through a link of ``/proc`` to what a process has open (proc_pid_fd(5))."""

    @property
    def is_remote(self) -> bool:
        """Whether it is looked up in the target."""
        return self.side in (Side.REMOTE, Side.REMOTE_READ_WRITE)


class PathRules:
    """Decides by path; the second question about a path costs one dictionary lookup."""

    def __init__(
        self,
        fs: Fs,
        *,
        cwd: bytes,
        home: bytes | None,
        tmpdir: bytes = b"/tmp",
        executable: bytes | None = None,
        code: Sequence[bytes] = (),
        aws: bool = True,
        tree: bytes | None = None,
        search: Sequence[bytes] = (),
    ) -> None:
        mapping = dict(fs.mapping)
        if aws and home:
            # The pod's own identity is to be used; the files of the developer's would come before it in every
            # AWS library.
            mapping.setdefault(
                f"^{re.escape(_text(home))}/\\.aws", f"{_text(tmpdir)}/.aws".replace("$", "$$")
            )
        self._mapping: Final = [_Mapping(pattern, replacement) for pattern, replacement in mapping.items()]
        self._lists: Final = [
            (compile_pattern(pattern), pattern, name) for name in _LISTS for pattern in getattr(fs, name)
        ]
        self._built_in: Final = BuiltIn(
            cwd=cwd, home=home, tmpdir=tmpdir, executable=executable, code=code, search=search
        )
        self._mode: Final = fs.mode
        self._tree: Final = tree
        self._reads: Final[dict[bytes, Decision]] = {}
        self._writes: Final[dict[bytes, Decision]] = {}

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        cwd: bytes,
        home: bytes | None,
        tmpdir: bytes = b"/tmp",
        executable: bytes | None = None,
        code: Sequence[bytes] = (),
        tree: bytes | None = None,
        search: Sequence[bytes] = (),
    ) -> Self:
        """Compile the rules of a session.

        ``cwd`` is the directory that the session started in, ``home`` and ``tmpdir`` are the local ``$HOME``
        and ``$TMPDIR``, and ``executable`` is the absolute path of the program; ``code`` are
        files that it is told to run, and ``search`` the directories of PATH. ``tree``
        is where the session keeps what stands for remote files.
        """
        feature = settings.feature
        return cls(
            feature.fs,
            cwd=cwd,
            home=home,
            tmpdir=tmpdir,
            executable=executable,
            code=code,
            aws=feature.magic.aws,
            tree=tree,
            search=search,
        )

    @property
    def active(self) -> bool:
        """Whether any path can be other than local; if not, no file call needs to be looked at."""
        return self._mode != "local"

    def decide(self, path: bytes, *, write: bool) -> Decision:
        """Decide for an absolute path.

        ``write`` is whether the call would change the file, its directory or its attributes.
        """
        memo = self._writes if write else self._reads
        try:
            return memo[path]
        except KeyError:
            return self._learn(memo, path, write)

    def why(self, path: bytes, *, write: bool) -> str:
        """Explain the decision for a path in one sentence."""
        decision = self.decide(path, write=write)
        moved = f", mapped to {_text(decision.path)}" if decision.path != normalise(path) else ""
        return f"{_text(path)}{moved} is {decision.side.value}: {decision.rule}"

    def _learn(self, memo: dict[bytes, Decision], path: bytes, write: bool) -> Decision:
        # Starting over is cheaper than keeping an order: a program that walks a large tree asks about each
        # path once.
        if len(memo) >= MEMO_LIMIT:
            memo.clear()
        decision = memo[path] = self._placed(path, self._judge(normalise(path), write))
        return decision

    def _placed(self, asked: bytes, decision: Decision) -> Decision:
        """Say which path is used: the one that was asked for, so that the kernel of its side resolves ``..``
        behind a link; but not where what is before the ``..`` is of the other side, or it was mapped.
        """
        up = _UP.search(asked)
        if decision.path != normalise(asked):
            as_asked = False
        elif up is None:
            as_asked = True
        else:
            before = self.decide(asked[: up.start()] or b"/", write=False)
            as_asked = before.is_remote is decision.is_remote
        use = asked if as_asked else _kept_slash(decision.path, asked)
        magic = decision.side is Side.LOCAL and _MAGIC.match(asked) is not None
        return decision._replace(use=use, as_asked=as_asked, magic=magic)

    def _judge(self, path: bytes, write: bool) -> Decision:
        if self._mode == "local":
            return Decision(Side.LOCAL, _MODES["local"], path)
        if self._tree is not None and path.startswith(self._tree) and _within(path, self._tree):
            return Decision(
                Side.REMOTE, "it stands for a file of the target", path[len(self._tree) :] or b"/"
            )
        for mapping in self._mapping:
            mapped = mapping.apply(path)
            if mapped is not None:
                path = normalise(mapped)
                break
        return self._by_list(path, write) or self._by_default(path, write)

    def _by_list(self, path: bytes, write: bool) -> Decision | None:
        if not self._lists:
            return None
        text = _text(path)
        for pattern, source, name in self._lists:
            if pattern.search(text):
                side = Side.LOCAL if write and name == "read_only" else _LISTS[name]
                return Decision(side, f"`feature.fs.{name}` has `{source}`", path)
        return None

    def _by_default(self, path: bytes, write: bool) -> Decision:
        built_in = self._built_in
        if rule := built_in.absent(path):
            return Decision(Side.NOT_FOUND, rule, path)
        if not write and (rule := built_in.remote(path)):
            return Decision(Side.REMOTE, rule, path)
        if rule := built_in.local(path):
            return Decision(Side.LOCAL, rule, path)
        return Decision(self._by_mode(write), _MODES[self._mode], path)

    def _by_mode(self, write: bool) -> Side:
        if self._mode == "write":
            return Side.REMOTE_READ_WRITE
        return Side.REMOTE if self._mode == "read" and not write else Side.LOCAL


class _Mapping:
    def __init__(self, pattern: str, replacement: str) -> None:
        self._pattern: Final = compile_pattern(pattern)
        self._replacement: Final[Callable[[re.Match[str]], str]] = compile_replacement(
            replacement, self._pattern
        )

    def apply(self, path: bytes) -> bytes | None:
        """Return the path with the first match replaced, None without one."""
        text, count = self._pattern.subn(self._replacement, _text(path), count=1)
        return text.encode("utf-8", "surrogateescape") if count else None


def normalise(path: bytes) -> bytes:
    """Return an absolute path without ``.``, ``..`` and repeated slashes; symbolic links are not followed."""
    normal = posixpath.normpath(path)
    # POSIX gives exactly two leading slashes a meaning of their own, and so does normpath; Linux does not.
    return normal[1:] if normal.startswith(b"//") else normal


def _kept_slash(path: bytes, asked: bytes) -> bytes:
    """Keep a trailing slash, which demands a directory and follows a link (path_resolution(7))."""
    return path + b"/" if asked.endswith((b"/", b"/.")) and path != b"/" else path


def _within(path: bytes, tree: bytes) -> bool:
    return path[len(tree) : len(tree) + 1] in (b"", b"/")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


_UP: Final = re.compile(rb"/\.\.(?=/|$)")
_MAGIC: Final = re.compile(
    rb"/+(?:proc/+(?:self|thread-self|\d+)(?:/+task/+\d+)?/+(?:fd/+\d+|cwd)|dev/+(?:fd/+\d+|std(?:in|out|err)))(?=/|$)"
)

_LISTS: Final = {
    "not_found": Side.NOT_FOUND,
    "read_write": Side.REMOTE_READ_WRITE,
    "read_only": Side.REMOTE,
    "local": Side.LOCAL,
}
"""The user's lists, in the order in which they are asked."""

_MODES: Final = {
    "read": "no rule names it, and the mode is `read`: remote for reading, local for writing",
    "write": "no rule names it, and the mode is `write`",
    "local": "the mode is `local`",
    "localwithoverrides": "no rule names it, and the mode is `localwithoverrides`",
}
