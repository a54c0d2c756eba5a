"""Reads a session's feed to its end and writes what it tells, as lines, as JSON, or as a table at the end."""

import os
import signal
import socket
from collections import deque
from typing import IO, Final

from mirrord.feed.frames import Kind
from mirrord.feed.models import Dropped, Note, SessionInfo
from mirrord.session.say import say
from mirrord.trace.client import Client
from mirrord.trace.events import Call, Selection, Threads
from mirrord.trace.explain import Explainer
from mirrord.trace.options import TraceOptions
from mirrord.trace.pcap import Pcap
from mirrord.trace.plain import line
from mirrord.trace.summary import Summary
from mirrord.tracer.record import CallRecord, ThreadRecord, unpack

_NICE: Final = 10
_MOST_WAITING: Final = 256 * 1024 * 1024
"""Bytes of records that wait here to be written; then the session is left to drop."""


class Printer:
    """Writes what one session tells."""

    def __init__(self, client: Client, out: IO[str], options: TraceOptions, pcap: Pcap | None = None) -> None:
        self._client: Final = client
        self._out: Final = out
        self._options: Final = options
        self._pcap: Final = pcap
        self._selection: Final = Selection(options.selection)
        self._threads: Final = Threads()
        self._summary: Final = Summary()
        self._waiting: Final[deque[bytes]] = deque()
        self._waits: int = 0
        self._lost: int = 0
        self._lost_traffic: int = 0
        self._ended: bool = False
        self._info: SessionInfo | None = None
        self._explainer: Explainer | None = None

    def run(self) -> None:
        """Write until the session ends."""
        while not (self._client.ended or self._ended):
            self._read(None if not self._waiting else 0)
            self._write_some()
            if not self._waiting:
                self._out.flush()
        while self._waiting:
            self._write_some()
        if self._options.summary:
            self._summary.write(self._out)
        self._out.flush()
        if self._lost:
            say(f"{self._lost} calls are missing: they came faster than they could be written")
        if self._pcap is not None:
            self._pcap.flush()
        if self._lost_traffic:
            say(f"{self._lost_traffic} bytes of traffic are missing: they came faster than they were taken")

    def _read(self, timeout: float | None) -> None:
        if self._waits > _MOST_WAITING:
            return
        for kind, payload in self._client.frames(timeout):
            if kind is Kind.INFO:
                self._info = info = SessionInfo.model_validate_json(payload)
                self._explainer = Explainer(info.rules, target=info.target is not None)
            elif kind is Kind.RECORDS:
                self._waiting.append(payload)
                self._waits += len(payload)
            elif kind is Kind.NOTE and self._explainer is not None:
                self._explainer.learn(Note.model_validate_json(payload))
            elif kind is Kind.TRAFFIC and self._pcap is not None and self._info is not None:
                self._pcap.add(payload, self._info.clock)
            elif kind is Kind.DROPPED:
                dropped = Dropped.model_validate_json(payload)
                self._lost += dropped.count
                self._lost_traffic += dropped.traffic
            elif kind is Kind.ENDED:
                self._ended = True

    def _write_some(self) -> None:
        if not self._waiting:
            return
        payload = self._waiting.popleft()
        self._waits -= len(payload)
        for record in unpack(payload):
            if isinstance(record, ThreadRecord):
                self._threads.learn(record)
            else:
                self._write(record)

    def _write(self, record: CallRecord) -> None:
        assert self._explainer is not None
        assert self._info is not None
        call = Call(record, self._threads.of(record.tid))
        why = call.why(self._explainer)
        if not self._selection.has(call.name, why.plane, why.side):
            return
        if self._options.summary:
            self._summary.add(call, why.side)
        elif self._options.json:
            self._out.write(call.event(self._explainer, self._info).model_dump_json() + "\n")
        else:
            self._out.write(line(call, why.side))


def run(sock: socket.socket, out: IO[str], options: TraceOptions, capture: IO[bytes] | None) -> None:
    """Be the process that writes: it ends with the session, and by nothing else."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # the program comes first: what it does is kept until there is time to write it
    os.nice(_NICE)
    try:
        pcap = Pcap(capture) if capture is not None else None
        Printer(Client(sock), out, options, pcap).run()
    except BrokenPipeError:
        # the reader of a pipe has gone: nobody wants more
        os._exit(0)
    except OSError as error:
        say(f"the trace cannot be written: {(error.strerror or str(error)).lower()}")
        os._exit(1)
