"""What the dashboard knows: calls, processes, connections, files, names, rates."""

import errno
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mirrord.feed.models import Connection, Exchange, LinkState, Note, SessionInfo, State
from mirrord.trace.event import PLANES, Plane, Side
from mirrord.trace.events import Call, Threads
from mirrord.trace.explain import Explainer, plane_of
from mirrord.tracer.record import CallRecord, ThreadRecord, unpack

_MOST_CALLS: Final = 5000
_MOST_FAILED: Final = 500
_MOST_SLOW: Final = 100
_MOST_NOTES: Final = 500
_MOST_GONE: Final = 100
"""Connections that are kept after their end."""
_MOST_FILES: Final = 2000
_NS: Final = 1e9
_BEGUN: Final = -errno.EINPROGRESS
"""Of a connect that does not wait: no failure to people."""
_RATES: Final = 60
"""Seconds of history."""


@dataclass(slots=True)
class Rates:
    """A number per second, over the last minute."""

    total: int = 0
    history: deque[int] = field(default_factory=lambda: deque(maxlen=_RATES))
    _before: int = 0

    def tick(self) -> None:
        """Note that a second has gone by."""
        self.history.append(self.total - self._before)
        self._before = self.total

    @property
    def now(self) -> int:
        """The last second's."""
        return self.history[-1] if self.history else 0


@dataclass(slots=True)
class Process:
    """One process that has made a call."""

    pid: int
    parent: int
    name: str
    calls: int = 0
    remote: int = 0


@dataclass(slots=True)
class Retired:
    """How many processes have ended, and what they had done."""

    count: int = 0
    calls: int = 0
    remote: int = 0


@dataclass(slots=True)
class Flow:
    """A connection, and how it fared."""

    connection: Connection
    sent: Rates = field(default_factory=Rates)
    received: Rates = field(default_factory=Rates)
    open: bool = True


@dataclass(slots=True)
class RemoteFile:
    """A remote file that was opened."""

    path: str
    size: int
    opened: int = 0
    cached: int = 0


@dataclass(slots=True)
class Answered:
    """A request that reached the program, and what it answered, if it has."""

    asked: Exchange
    status: int | None = None
    seconds: float = 0.0


class Board:
    """Takes what the session tells, and keeps what is shown."""

    def __init__(self) -> None:
        self.info: SessionInfo | None = None
        self.explainer: Explainer | None = None
        self.calls: Final[deque[Call]] = deque(maxlen=_MOST_CALLS)
        self.failed: Final[deque[Call]] = deque(maxlen=_MOST_FAILED)
        self.slowest: list[Call] = []
        self.planes: Final[dict[Plane, Rates]] = {plane: Rates() for plane in PLANES}
        self.remote: Final = Rates()
        self.processes: Final[dict[int, Process]] = {}
        """Those that live."""
        self.ended: Final = Retired()
        self.flows: Final[dict[tuple[int, str], Flow]] = {}
        self.files: Final[dict[str, RemoteFile]] = {}
        self.names: Final[deque[Note]] = deque(maxlen=_MOST_NOTES)
        self.exchanges: Final[dict[int, Answered]] = {}
        """Requests that reached the program, in their order."""
        self.link: LinkState | None = None
        self.link_sent: Final = Rates()
        self.link_received: Final = Rates()
        self.dropped: int = 0
        self.errors: Final[Counter[str]] = Counter()
        self._threads: Final = Threads()
        self._planes: Final[dict[int, Rates]] = {}
        self._slow: float = 0.0

    def begin(self, info: SessionInfo) -> None:
        """Take what the session tells of itself."""
        self.info = info
        self.explainer = Explainer(info.rules, target=info.target is not None)

    def take(self, payload: bytes) -> None:
        """Take a batch of records."""
        for record in unpack(payload):
            if isinstance(record, ThreadRecord):
                self._thread(record)
            else:
                self._call(record)

    def _thread(self, thread: ThreadRecord) -> None:
        self._threads.learn(thread)
        known = self.processes.get(thread.pid)
        if known is None:
            self.processes[thread.pid] = Process(thread.pid, thread.parent, thread.name)
        elif thread.tid == thread.pid:
            known.name, known.parent = thread.name, thread.parent

    def _call(self, record: CallRecord) -> None:
        # of a program that is busy there are thousands a second
        call = Call(record, self._threads.of(record.tid))
        self.calls.append(call)
        (self._planes.get(record.number) or self._rates(record.number, call)).total += 1
        process = self.processes.get(call.thread.pid) or self.ended
        process.calls += 1
        if went_remote(call):
            self.remote.total += 1
            process.remote += 1
        if record.result < 0 and record.failed and record.result != _BEGUN:
            self.failed.append(call)
        if call.seconds > self._slow:
            self._keep_slow(call)

    def _rates(self, number: int, call: Call) -> Rates:
        rates = self._planes[number] = self.planes[plane_of(call.name)]
        return rates

    def _keep_slow(self, call: Call) -> None:
        self.slowest.append(call)
        if len(self.slowest) > 2 * _MOST_SLOW:
            self.slowest.sort(key=lambda one: -one.seconds)
            del self.slowest[_MOST_SLOW:]
            self._slow = self.slowest[-1].seconds

    def state(self, state: State) -> None:
        """Take how things are now."""
        there = set()
        for connection in state.connections:
            key = (connection.id, connection.remote)
            there.add(key)
            flow = self.flows.setdefault(key, Flow(connection))
            flow.connection = connection
            flow.sent.total, flow.received.total = connection.sent, connection.received
        for key, flow in self.flows.items():
            flow.open = key in there
        gone = [key for key, flow in self.flows.items() if not flow.open]
        for key in gone[:-_MOST_GONE]:
            del self.flows[key]
        self.link = state.link
        if state.link is not None:
            self.link_sent.total, self.link_received.total = state.link.sent, state.link.received

    def note(self, note: Note) -> None:
        """Take something that happened beside the calls."""
        if note.kind != "file":
            self.names.append(note)
            # the calls that carried it were counted as a socket's: whose they are the address tells
            self.planes["names"].total += note.kind == "question"
            if self.explainer is not None:
                self.explainer.learn(note)
            return
        file = self.files.setdefault(note.text, RemoteFile(note.text, note.size))
        if len(self.files) > _MOST_FILES:
            del self.files[next(iter(self.files))]
        file.size = note.size
        file.opened += 1
        file.cached += note.cached

    def exchange(self, exchange: Exchange) -> None:
        """Take a request, or its answer."""
        known = self.exchanges.get(exchange.id)
        if known is not None:
            known.status = exchange.status
            known.seconds = (exchange.time - known.asked.time) / _NS
            return
        self.exchanges[exchange.id] = Answered(exchange)
        if len(self.exchanges) > _MOST_NOTES:
            del self.exchanges[next(iter(self.exchanges))]

    def tick(self) -> None:
        """Note that a second has gone by."""
        for rates in (*self.planes.values(), self.remote, self.link_sent, self.link_received):
            rates.tick()
        for flow in self.flows.values():
            flow.sent.tick()
            flow.received.tick()
        self._retire()

    def _retire(self) -> None:
        """Keep of processes that have ended only how many they were."""
        for process in [one for one in self.processes.values() if not _lives(one.pid)]:
            del self.processes[process.pid]
            self.ended.count += 1
            self.ended.calls += process.calls
            self.ended.remote += process.remote

    def tree(self) -> Iterator[tuple[int, Process]]:
        """Return the processes that live, each with its depth below the first."""
        self._retire()
        children: dict[int, list[Process]] = {}
        for process in self.processes.values():
            parent = process.parent if process.parent in self.processes else 0
            children.setdefault(parent, []).append(process)
        waiting = [(0, process) for process in reversed(children.get(0, []))]
        while waiting:
            depth, process = waiting.pop()
            yield depth, process
            below = children.get(process.pid, []) if process.pid else []
            waiting += [(depth + 1, child) for child in reversed(below)]

    def side(self, call: Call) -> Side:
        """Return where a call went."""
        return call.why(self.explainer).side if self.explainer is not None else "local"


def _lives(pid: int) -> bool:
    """Tell whether a process has not ended; one that nobody has waited for has (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b") ")[2].split()
        # the leader of a process may end before its other threads
        return fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def went_remote(call: Call) -> bool:
    """Tell, without asking the rules, whether the target had to do with a call."""
    return call.record.held or call.record.ours
