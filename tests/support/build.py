"""Compiles the programs of tests/programs, each once for its content."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from .needs import tool

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "tests" / "programs"
OUTPUT: Final = ROOT / ".build" / "programs"
SYSTEM_PYTHON: Final = os.path.realpath(sys.executable)
JAVA: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a program is made: a compiler's command line, with ``OUT`` for what it makes."""

    source: str
    """A file, or a folder that is a Go module."""
    compiler: tuple[str, ...]
    run: Callable[[str], list[str]] = lambda made: [made]
    variables: tuple[tuple[str, str], ...] = ()


def command(name: str) -> list[str]:
    """Return the command line that runs a program, built if it was not; skip without the compiler."""
    if name in _SCRIPTS:
        interpreter, source = _SCRIPTS[name]
        return [SYSTEM_PYTHON if interpreter == "python" else tool(interpreter), str(SOURCES / source)]
    recipe = _RECIPES.get(name) or _call(name)
    return recipe.run(str(_made(recipe)))


def _call(name: str) -> Recipe:
    flags = ("-g", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror")
    return Recipe(f"calls/{name}.c", ("gcc", *flags, "-o", "OUT", f"{name}.c"))


def _go(folder: str, *flags: str) -> Recipe:
    variables = (("CGO_ENABLED", "0"), ("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local"), ("GOWORK", "off"))
    return Recipe(folder, ("go", "build", *flags, "-o", "OUT", "."), variables=variables)


def _java(source: str, name: str) -> Recipe:
    def run(made: str) -> list[str]:
        return [tool("java"), *JAVA, "-cp", made, name]

    return Recipe(source, ("javac", "-d", "OUT", f"{name}.java"), run)


_SCRIPTS: Final = {
    "identity-python": ("python", "identity/identity.py"),
    "identity-node": ("node", "identity/identity.mjs"),
    "identity-sh": ("sh", "identity/identity.sh"),
    "probe-python": ("python", "probe/probe.py"),
    "probe-node": ("node", "probe/probe.mjs"),
    "burst-python": ("python", "burst/burst.py"),
    "bulk": ("python", "bulk/bulk.py"),
    "traced": ("python", "traced/traced.py"),
    "local-python": ("python", "traced/local.py"),
    "burst-node": ("node", "burst/burst.mjs"),
    "look-python": ("python", "attach/look.py"),
    "look-node": ("node", "attach/look.mjs"),
    "accepts": ("python", "accepts/accepts.py"),
    "serve-python": ("python", "serve/serve.py"),
    "serve-node": ("node", "serve/serve.mjs"),
    "serve-http2": ("node", "serve/http2.mjs"),
    "kept": ("python", "steal/kept.py"),
    "again": ("python", "steal/again.py"),
    "leaves": ("python", "steal/leaves.py"),
    "multiplexed": ("node", "steal/multiplexed.mjs"),
    "taken-over": ("python", "steal/taken_over.py"),
    "streaming": ("node", "steal/streaming.mjs"),
    "events": ("python", "steal/events.py"),
    "calls-http2": ("node", "steal/calls.mjs"),
    "attacks": ("python", "steal/attacks.py"),
}
_C: Final = ("-O1", "-Wall", "-Wextra", "-Werror", "-o", "OUT")
_RECIPES: Final = {
    "identity-c": Recipe("identity/identity.c", ("gcc", *_C, "identity.c")),
    "identity-static": Recipe("identity/identity_static.c", ("gcc", "-static", *_C, "identity_static.c")),
    "identity-musl": Recipe("identity/identity.c", ("musl-gcc", "-static", *_C, "identity.c")),
    "identity-go": _go("identity/go"),
    "identity-rust": Recipe("identity/identity.rs", ("rustc", "-O", "-o", "OUT", "identity.rs")),
    "identity-java": _java("identity/Identity.java", "Identity"),
    "probe-go": _go("probe/go"),
    "probe-java": _java("probe/Probe.java", "Probe"),
    "burst-go": _go("burst/go"),
    "look-go": _go("attach/go"),
    "look-java": _java("attach/Look.java", "Look"),
    "attached": Recipe("attach/attached.c", ("gcc", *_C, "attached.c")),
    "serve-go": _go("serve/go"),
    "serve-java": _java("serve/Serve.java", "Serve"),
    "preempted": _go("preempted"),
    "walk-go": _go("walk/go"),
    # a debugger wants every variable, and no function to be inlined
    "delve": _go("delve", "-gcflags=all=-N -l"),
}


def _made(recipe: Recipe) -> Path:
    folder, paths = _inputs(recipe)
    compiler = tool(recipe.compiler[0])
    place = OUTPUT / f"{recipe.source.replace('/', '-')}-{_stamp(recipe, paths)}"
    if not place.exists():
        _compile(recipe, compiler, folder, place)
    return place


def _inputs(recipe: Recipe) -> tuple[Path, Sequence[Path]]:
    source = SOURCES / recipe.source
    if source.is_dir():
        return source, sorted(path for path in source.iterdir() if path.is_file())
    return source.parent, [source, *sorted(source.parent.glob("*.h"))]


def _stamp(recipe: Recipe, paths: Sequence[Path]) -> str:
    digest = hashlib.sha256(repr((recipe.compiler, recipe.variables)).encode())
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(recipe: Recipe, compiler: str, folder: Path, place: Path) -> None:
    """Compile beside its place and rename, so that two runs at once do not see halves."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUTPUT) as temporary:
        out = Path(temporary, "out")
        line = [compiler, *(str(out) if word == "OUT" else word for word in recipe.compiler[1:])]
        environment = {**os.environ, **dict(recipe.variables)}
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"{recipe.source} cannot be compiled:\n{done.stdout}{done.stderr}")
        if out.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        out.rename(place)
