"""Calls that are recorded, of threads whose memory is one path."""

import os

from mirrord_seccomp.notify import NotificationId
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.syscall import Fault, Tid
from mirrord.tracer.record import CallRecord, ThreadRecord, unpack
from mirrord.tracer.recorded import RecordedCall
from mirrord.tracer.recorder import Recorder
from mirrord.tracer.threads import Threads

OPENAT = number("openat", current_arch()) or 0
PATH, HERE = 0x1000, os.getpid()


class Memory(Threads):
    """Threads whose memory is one path."""

    def __init__(self) -> None:
        super().__init__(lambda _: True)
        self.asked = 0

    def string(self, tid: int, call: NotificationId, address: int) -> bytes:
        """Return the path, and count that."""
        self.asked += 1
        if address != PATH:
            raise Fault
        return b"/a/path"


def begun(recorder: Recorder, memory: Memory, *, tid: int = HERE, path: int = PATH) -> RecordedCall:
    """Return an openat that has begun."""
    args = (0, path, 0, 0, 0, 0)
    return RecordedCall(NotificationId(1), Tid(tid), OPENAT, args, memory, recorder)


def records(recorder: Recorder) -> list[CallRecord | ThreadRecord]:
    """Take what has come, unpacked."""
    return [record for packed in recorder.take() for record in unpack(packed)]
