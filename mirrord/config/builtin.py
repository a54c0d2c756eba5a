"""The built-in path lists: what is absent, remote or local where the user has no rule for it.

They are the existing mirrord's (3.250), with five corrections. Four are so that the code which the program
runs is local as its executable is: directories that lead to it are local, too, since an interpreter looks at
each of them; what is in a directory of PATH is local; ``/lib`` there did not cover ``/lib64`` and its like,
and ``.so`` not ``.so.6``, so on many distributions the C library came from the pod. Lastly ``/run/secrets``
is the pod's: ``/var/run``, through which its service account is looked up, is a link to ``/run``, and who
resolves that must not end up here. Names ignore case as there; the directories of this machine (home, current
directory …) do not, since they name one file.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Final

_ABSENT_IN_HOME: Final = (b"/.config/gcloud", b"/.kube", b"/.azure")
_REMOTE_FILES: Final = frozenset((b"/etc/resolv.conf", b"/etc/hosts", b"/etc/hostname"))
_REMOTE_TREE: Final = b"/etc/ssl/certs"
_SECRETS: Final = b"/run/secrets"

_LOCAL_TREES: Final = frozenset(
    b"proc sys lib lib32 lib64 libx32 etc usr home bin sbin dev opt tmp snap run selinux nix".split()
) | {b"program files"}
"""First components of local paths."""
_DEEPER_LOCAL_TREES: Final = (b"/var/tmp", b"/var/db/timezone/zoneinfo")
_LOCAL_SUFFIXES: Final = frozenset(b"so sh rb d pyc py jar class js pth plist pdb dll".split())
_LOCAL_NAMES: Final = (
    b"venv.cfg",
    b"jvm.cfg",
    b"/package.json",
    b"/.yarnrc",
    b"/.yarnrc.yml",
    b"/.yarnrc.json",
    b"/.tool-versions",
)
_LOCAL_PARTS: Final = re.compile(rb"/node_modules|\.asdf/|clr-.*-pipe-|\.so(?:\.\d+)+$", re.DOTALL)


class BuiltIn:
    """The lists for one session.

    Each question takes a normalised path and gives the rule that says yes, for people, or None.
    """

    def __init__(
        self,
        *,
        cwd: bytes,
        home: bytes | None,
        tmpdir: bytes,
        executable: bytes | None,
        code: Iterable[bytes] = (),
        search: Iterable[bytes] = (),
    ) -> None:
        """``code`` are files that the program is told to run, such as a script; ``search`` are the
        directories of PATH.
        """
        self._home: Final = None if not home else home.rstrip(b"/") + b"/."
        self._absent: Final = tuple(home.rstrip(b"/") + name for name in _ABSENT_IN_HOME) if home else ()
        self._executable: Final = executable
        self._search: Final = frozenset(
            directory.rstrip(b"/") for directory in search if directory.startswith(b"/") and directory != b"/"
        )
        self._leading: Final = frozenset(
            parent for path in (cwd, executable, *code) if path for parent in _parents(path)
        )
        self._trees: Final = tuple(
            (tree.rstrip(b"/"), rule)
            for tree, rule in (
                (cwd, "it is in the current directory"),
                (tmpdir, "it is in the directory for temporary files"),
            )
            if tree.rstrip(b"/")
        )

    def absent(self, path: bytes) -> str | None:
        """Tell whether a path is one of the developer's own credentials, which the pod does not have."""
        if self._absent and path.startswith(self._absent):
            return "built in: the credentials of this machine are not the pod's"
        return None

    def remote(self, path: bytes) -> str | None:
        """Tell whether a path decides about names or trust, and so is the pod's for reading."""
        if path.startswith(_SECRETS) and _within(path, _SECRETS):
            return "built in: secrets are the pod's"
        if not path.startswith((b"/etc/", b"/ETC/", b"/Etc/")):
            return None
        path = path.lower()
        if path in _REMOTE_FILES or _within(path, _REMOTE_TREE):
            return "built in: names and certificates are the pod's"
        return None

    def local(self, path: bytes) -> str | None:
        """Tell whether a path is this machine's: its system, the program's code, the user's own files."""
        if path == b"/":
            return "built in: `/`"
        return self._by_name(path.lower()) or self._by_place(path)

    def _by_name(self, path: bytes) -> str | None:
        tree = path[1 : path.find(b"/", 1)] if path.find(b"/", 1) > 0 else path[1:]
        if tree in _LOCAL_TREES:
            return f"built in: `/{tree.decode()}` is local"
        suffix = path[path.rfind(b".") + 1 :]
        if suffix in _LOCAL_SUFFIXES:
            return f"built in: files that end in `.{suffix.decode()}` are local"
        if path.endswith(_LOCAL_NAMES) or _LOCAL_PARTS.search(path):
            return "built in: it belongs to a language's tools"
        if path.startswith(_DEEPER_LOCAL_TREES) and any(_within(path, tree) for tree in _DEEPER_LOCAL_TREES):
            return "built in: the system's own files are local"
        return None

    def _by_place(self, path: bytes) -> str | None:
        for tree, rule in self._trees:
            if _within(path, tree):
                return f"built in: {rule}"
        if path == self._executable:
            return "built in: it is the program"
        if path in self._search or posixpath.dirname(path) in self._search:
            return "built in: it is in a directory of PATH, and what is executed is local"
        if path in self._leading:
            return "built in: it leads to the current directory or the program, whose real path is local"
        if self._home and path.startswith(self._home):
            return "built in: it is a hidden file of the home directory"
        return None


def _parents(path: bytes) -> Iterator[bytes]:
    """Return the directories above a path; interpreters look at each of them to find a script's real path."""
    while (path := posixpath.dirname(path)) not in (b"/", b""):
        yield path


def _within(path: bytes, tree: bytes) -> bool:
    return path.startswith(tree) and path[len(tree) : len(tree) + 1] in (b"", b"/")
