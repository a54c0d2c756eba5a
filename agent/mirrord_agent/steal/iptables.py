"""Redirection by iptables, where the kernel has no nf_tables, or none whose tables have an owner.

Nothing removes these rules when the agent dies, so a watchdog does (``watchdog.py``), which holds the agent's
level until it has. If both are killed, the level is free while its chains are there: whoever takes it, or
comes next, removes them.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mirrord_agent.errors import AgentError
from mirrord_agent.steal.level import (
    MARK,
    MARK_MASK,
    Level,
    LevelNumber,
    iptables_levels,
    take_level,
    try_level,
)

Variant = Literal["nft", "legacy"]
_BUILT_IN: Final = {"PRE": "PREROUTING", "OUT": "OUTPUT"}
_CHAIN: Final = re.compile(r"^-N MIRRORD_(\d+)_(?:PRE|OUT)$", re.MULTILINE)
_JUMP: Final = re.compile(r"^-A \w+ .*-j MIRRORD_(\d+)_(?:PRE|OUT)$")
MESH_CHAINS: Final = re.compile(r"^-N (?:ISTIO_|PROXY_INIT_|KUMA_MESH_)", re.MULTILINE)
"""The chains of Istio, Linkerd and Kuma."""
_PROBE: Final = "MIRRORD_PROBE"
_ATTEMPTS: Final = 20
_ENDING: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_PATIENCE: Final = 10
"""Seconds for which a command may wait for the lock that all iptables commands share."""


@dataclass(frozen=True, slots=True)
class Family:
    """The commands of one variant for IPv4 or IPv6."""

    command: str

    @property
    def is_ipv6(self) -> bool:
        """It is for IPv6."""
        return self.command.startswith("ip6")

    def list(self) -> str:
        """Return the rules of the nat table as ``iptables -S`` prints them; raise AgentError."""
        return self._run([self.command, "-w", str(_PATIENCE), "-t", "nat", "-S"])

    def load(self, lines: Iterable[str]) -> None:
        """Change the nat table, wholly or not at all; raise AgentError."""
        restore = self.command + "-restore"
        # legacy and nft variants before 1.8.8 take no seconds for -w here; they wait by themselves
        self._run([restore, "--noflush"], "\n".join(["*nat", *lines, "COMMIT", ""]))

    def works(self) -> bool:
        """Try it with a rule that matches nothing, in a chain that nothing uses."""
        rule = f"-A {_PROBE} -p 255 -j RETURN"
        try:
            self.load([f":{_PROBE} - [0:0]", rule, f"-F {_PROBE}", f"-X {_PROBE}"])
        except AgentError:
            return False
        return True

    @staticmethod
    def _run(command: Sequence[str], text: str = "") -> str:
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        except (FileNotFoundError, PermissionError):
            # the second where a directory of the path is closed to this user
            raise AgentError(f"{command[0]} is not installed here") from None
        except subprocess.CalledProcessError as error:
            raise AgentError(f"{command[0]} failed: {error.stderr.strip()}") from None
        return done.stdout


def choose(wanted: Variant | None = None) -> tuple[Family, ...]:
    """Return the commands to use: IPv4, and IPv6 where it works.

    The variant is the one asked for, else the one that a service mesh has used here, as only one of the two
    sets of rules sees a connection first, else the one that works. Raises AgentError where none does.
    """
    variants: tuple[Variant, ...] = (wanted,) if wanted else ("nft", "legacy")
    usable = [(Family(f"iptables-{name}"), Family(f"ip6tables-{name}")) for name in variants]
    usable = [pair for pair in usable if shutil.which(pair[0].command) and pair[0].works()]
    if not usable:
        raise AgentError(
            "connections cannot be stolen: neither nf_tables (Linux 5.12) nor iptables works in the target's "
            "network namespace; check that the agent may have CAP_NET_ADMIN, or use mirror mode"
        )
    meshed = [pair for pair in usable if MESH_CHAINS.search(pair[0].list())]
    first, second = (meshed or usable)[0]
    return (first, second) if second.works() else (first,)


def remove(families: Iterable[Family], level: LevelNumber) -> None:
    """Remove the chains of a level, wherever they are."""
    for family in families:
        family.load(_removal(family.list(), level))


def _removal(rules: str, level: LevelNumber) -> list[str]:
    lines = rules.splitlines()
    mine = re.compile(rf"MIRRORD_{level}_(?:PRE|OUT)$")
    jumps = [line.replace("-A", "-D", 1) for line in lines if line.startswith("-A") and mine.search(line)]
    chains = [line.split()[1] for line in lines if line.startswith("-N") and mine.search(line)]
    return [*jumps, *(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains)]


class Iptables:
    """The redirected ports of one agent; every method raises AgentError."""

    def __init__(
        self, *, loopback_only: bool = False, filtered: bool = False, variant: Variant | None = None
    ) -> None:
        """Make the chains; ``loopback_only`` leaves alone what comes from other machines, as in a mesh.

        ``filtered`` asks for a level above those who take everything.
        """
        self._families: Final = choose(variant)
        self._kinds: Final = ("OUT",) if loopback_only else ("OUT", "PRE")
        self._ports: dict[int, int] = {}
        remove_leftovers(self._families)
        self.level: Final[Level] = take_level(
            iptables_levels(filtered=filtered), lambda level: remove(self._families, level.number)
        )
        self._watchdog: Final = _Watchdog(self._families, self.level)
        try:
            self._load(self._ports)
            for family in self._families:
                for kind in self._kinds:
                    self._insert_jump(family, kind)
        except BaseException:
            self.close()
            raise

    def redirect(self, port: int, *, to: int) -> None:
        """Lead new connections to a port, of any address of this namespace, to another port."""
        self._change({**self._ports, port: to})

    def restore(self, port: int) -> None:
        """Let new connections to a port through again; those already led elsewhere go on."""
        self._change({known: to for known, to in self._ports.items() if known != port})

    def close(self) -> None:
        """Remove the chains: connections that were led elsewhere break."""
        try:
            remove(self._families, self.level.number)
        finally:
            self._watchdog.close()
            self.level.close()

    def _change(self, ports: Mapping[int, int]) -> None:
        self._load(ports)
        self._ports = dict(ports)

    def _load(self, ports: Mapping[int, int]) -> None:
        for family in self._families:
            lines: list[str] = []
            for kind in self._kinds:
                chain = _chain(self.level, kind)
                # an existing chain is emptied by this
                lines.append(f":{chain} - [0:0]")
                if family.is_ipv6:
                    lines.append(f"-A {chain} -d fe80::/10 -j RETURN")
                lines += _rules(chain, self.level, ports)
            family.load(lines)

    def _insert_jump(self, family: Family, kind: str) -> None:
        """Insert the jump to our chain, after those of higher levels and before everything else.

        The command counts rules, so that another agent's may come between looking and inserting.
        """
        built_in, jump = _BUILT_IN[kind], f"-p tcp -j {_chain(self.level, kind)}"
        for _ in range(_ATTEMPTS):
            before = sum(level > self.level.number for level in _order(family, built_in))
            family.load([f"-I {built_in} {before + 1} {jump}"])
            order = _order(family, built_in)
            if order == sorted(order, reverse=True):
                return
            family.load([f"-D {built_in} {jump}"])
        raise AgentError(f"{family.command}: the rules are changed all the time by others")


def _order(family: Family, built_in: str) -> list[int]:
    """Return the levels that are jumped to, in order, up to the first rule that is not ours."""
    rules = [line for line in family.list().splitlines() if line.startswith(f"-A {built_in} ")]
    return [int(found[1]) for found in itertools.takewhile(bool, map(_JUMP.match, rules)) if found]


def _chain(level: Level, kind: str) -> str:
    return f"MIRRORD_{level.number}_{kind}"


def _rules(chain: str, level: Level, ports: Mapping[int, int]) -> Iterable[str]:
    """Give the same rules as ``nftables.py`` has, which says why each is there."""
    passed = f"-m mark --mark {MARK:#x}/{MARK_MASK:#x} -m mark ! --mark 0/{level.passed_mask:#x}"
    yield f"-A {chain} {passed} -j RETURN"
    for port, to in ports.items():
        # --syn looks at the same four flags
        packet = f"-p tcp -m tcp --dport {port} --syn -m addrtype --dst-type LOCAL"
        yield f"-A {chain} {packet} -j REDIRECT --to-ports {to}"
    yield f"-A {chain} -m conntrack --ctstate NEW"


def remove_leftovers(families: Sequence[Family]) -> None:
    """Remove the chains that agents left which were killed together with their watchdogs."""
    for family in families:
        for number in {LevelNumber(int(found)) for found in _CHAIN.findall(family.list())}:
            level = try_level(number)
            if level is not None:
                with contextlib.closing(level):
                    remove(families, number)


class _Watchdog:
    """The process that removes our chains should we die."""

    def __init__(self, families: Sequence[Family], level: Level) -> None:
        lock = level.lock.fileno()
        module = "mirrord_agent.steal.watchdog"
        commands = [family.command for family in families]
        # -P and the path: it imports what we are, wherever it is started
        # what ends the whole container must not end this first: it inherits what is blocked
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            self._process: Final = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(level.number), *commands],
                stdin=subprocess.PIPE,
                pass_fds=[lock],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        """Let it end, and wait until it has."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
