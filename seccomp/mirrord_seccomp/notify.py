"""Receive system calls on a seccomp listener and answer them.

Source: seccomp_unotify(2), ``include/uapi/linux/seccomp.h``, and what these leave open, ``kernel/seccomp.c``.

The path from :meth:`Listener.receive` to :meth:`Responder.send_continue` runs once per trapped call. Its
buffers are made once, and ``fcntl.ioctl`` on a bytearray is the fastest way that was measured: 1.3 µs a call
less than ctypes, 0.5 µs less than bytes objects.
"""

import errno
import os
import select
from ctypes import CDLL, addressof, c_char, c_int, c_ulong, c_void_p, get_errno
from fcntl import ioctl
from mmap import mmap
from struct import Struct
from typing import Final, NewType

NotificationId = NewType("NotificationId", int)
"""The kernel's cookie of one waiting call; unique for the lifetime of the filter."""

Notification = tuple[NotificationId, int, int, int, int, int, int, int, int, int, int, int]
"""``(id, tid, flags, nr, arch, ip, a0, a1, a2, a3, a4, a5)``.

``tid`` is 0 for a thread that our PID namespace does not have.
"""

IOCTL_RECV: Final = 0xC0502100
IOCTL_SEND: Final = 0xC0182101
IOCTL_ID_VALID: Final = 0x40082102
IOCTL_ADDFD: Final = 0x40182103
IOCTL_SET_FLAGS: Final = 0x40082104

FD_SYNC_WAKE_UP: Final = 1
"""Linux 6.6: a trapped task and its supervisor hand one CPU to each other instead of waking a second one."""
RESPONSE_CONTINUE: Final = 1
ADDFD_SETFD: Final = 1
ADDFD_SEND: Final = 2

_NOTIFICATION: Final = Struct("<QIIiIQ6Q")
_RESPONSE: Final = Struct("<QqiI")
_ADDFD: Final = Struct("<QIIII")
_ID: Final = Struct("<Q")
NOTIFICATION_SIZE: Final = _NOTIFICATION.size
_ZEROS: Final = bytes(NOTIFICATION_SIZE)
_ALL: Final = slice(NOTIFICATION_SIZE)
_libc: Final = CDLL(None, use_errno=True)
_libc.ioctl.argtypes = (c_int, c_ulong, c_void_p)
_NO_NOTIFICATION: Final[Notification] = (NotificationId(0), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

# Bound once: a global name is found faster than an attribute of one.
_unpack: Final = _NOTIFICATION.unpack_from
_pack_id: Final = _ID.pack_into
_pack_response: Final = _RESPONSE.pack_into


def _receive_at(fd: int, address: int) -> None:
    """Receive into memory by its address.

    Python's own ``ioctl`` copies a buffer of up to 1,024 bytes, and waits with the interpreter's lock held
    for a larger one (fcntl_ioctl_impl, Modules/fcntlmodule.c): no other thread would run until a call comes.
    """
    if _libc.ioctl(fd, IOCTL_RECV, address) < 0:
        code = get_errno()
        raise OSError(code, os.strerror(code))


class Responder:
    """Answers the calls that wait at one listener; each thread that does so needs an object of its own."""

    __slots__ = ("_continue", "_fd", "_outlived", "_response")

    def __init__(self, fd: int, *, outlived: bool = False) -> None:
        """``outlived`` says that another process answers what waits when this one is killed."""
        self._fd = fd
        self._outlived: Final = outlived
        self._response: Final = bytearray(_RESPONSE.size)
        # Only the id differs from one continued call to the next.
        self._continue: Final = bytearray(_RESPONSE.pack(0, 0, 0, RESPONSE_CONTINUE))

    @property
    def fd(self) -> int:
        """Return the listener's descriptor; -1 when closed. It polls readable when a call waits."""
        return self._fd

    def send_continue(self, id: NotificationId) -> bool:
        """Let the kernel run the call as the program made it; False when the call no longer waits.

        The kernel reads what the arguments point to again, so another thread may have changed it.
        """
        _pack_id(self._continue, 0, id)
        return self._ask(IOCTL_SEND, self._continue)

    def send_value(self, id: NotificationId, value: int) -> bool:
        """Make ``value`` (signed, 64 bits) the result of the call, which is not run; False as above."""
        _pack_response(self._response, 0, id, value, 0, 0)
        return self._ask(IOCTL_SEND, self._response)

    def send_errno(self, id: NotificationId, errno: int) -> bool:
        """Fail the call, which is not run, with a positive ``errno``; False as above.

        Raise ValueError for 0, which the kernel would take for a success with the value 0.
        """
        if errno <= 0:
            raise ValueError(f"not an errno: {errno}")
        _pack_response(self._response, 0, id, 0, -errno, 0)
        return self._ask(IOCTL_SEND, self._response)

    def add_fd(self, id: NotificationId, fd: int, *, cloexec: bool, send: bool, at: int | None = None) -> int:
        """Put a duplicate of our ``fd`` into the program and return its number there.

        Without ``at`` it is the lowest free number; with it, that very one, which is replaced if it is open
        (as dup2(2) does). With ``send`` the number becomes the result of the call at the same instant. The
        program's thread does the work, so this waits for it.

        Raise OSError: ENOENT when the call no longer waits, EINPROGRESS when it has been answered, EMFILE
        when the program has no number left, EBADF when ``fd`` is not open or ``at`` is beyond the program's
        limit, EINTR when a signal ended the wait with ``send`` (block signals in the calling thread: the
        kernel may then have answered the call with 0 and no descriptor).
        """
        flags = (ADDFD_SEND if send else 0) | (0 if at is None else ADDFD_SETFD)
        request = bytearray(_ADDFD.pack(id, flags, fd, at or 0, os.O_CLOEXEC if cloexec else 0))
        while True:
            try:
                # The number comes back as the ioctl's result for a mutable buffer only.
                return int(ioctl(self._fd, IOCTL_ADDFD, request))
            except InterruptedError:
                # An interrupted request was taken back, so it can be made again; one with an answer cannot.
                if send:
                    raise

    def give(self, id: NotificationId, fd: int, *, cloexec: bool) -> int:
        """Make a duplicate of our ``fd`` in the program the result of the call, and return its number there.

        Who is killed while the kernel answers a call with a descriptor has answered it with 0 and none (the
        call counts as replied before its thread has taken the descriptor, seccomp_notify_addfd). A program
        that lives on would take its standard input for what it opened. So where we may be outlived, putting
        and answering are two steps: killed between them, we leave a descriptor that nobody knows, and a call
        that waits. Raise OSError as :meth:`add_fd` does.
        """
        if not self._outlived:
            return self.add_fd(id, fd, cloexec=cloexec, send=True)
        given = self.add_fd(id, fd, cloexec=cloexec, send=False)
        self.send_value(id, given)
        return given

    def valid(self, id: NotificationId) -> bool:
        """Tell whether the call still waits.

        Ask after opening anything by the notification's thread id, and before trusting what was read there:
        another thread may have that id by now.
        """
        return self._ask(IOCTL_ID_VALID, bytearray(_ID.pack(id)))

    def _ask(self, request: int, argument: bytearray) -> bool:
        """Do an ioctl about a waiting call; False when it waits no more."""
        while True:
            try:
                ioctl(self._fd, request, argument)
            except (FileNotFoundError, BlockingIOError):
                # ENOENT: the thread died or was interrupted. EINPROGRESS: it has an answer already.
                return False
            except InterruptedError:
                # Only the listener's lock was waited for (mutex_lock_interruptible); nothing was done.
                continue
            return True


class Listener(Responder):
    """The receiving end of a filter that answers NOTIFY; it owns ``fd``. One object serves one thread."""

    __slots__ = ("_address", "_buffer", "notification")

    def __init__(self, fd: int, shared: mmap | None = None) -> None:
        """``shared`` is memory at whose beginning the kernel itself puts each call, its id in the first 8
        bytes, 0 while none is there: whoever shares it knows a call from the moment that it is received.
        """
        super().__init__(fd, outlived=shared is not None)
        self._buffer: Final = bytearray(NOTIFICATION_SIZE) if shared is None else shared
        self._address: Final = 0 if shared is None else addressof(c_char.from_buffer(shared))
        self.notification: Notification = _NO_NOTIFICATION
        """The call that the last successful :meth:`receive` brought."""

    def sync_wake_up(self) -> bool:
        """Ask for synchronous wake-ups (6 µs a call instead of 50 on two CPUs); False before Linux 6.6."""
        try:
            ioctl(self._fd, IOCTL_SET_FLAGS, FD_SYNC_WAKE_UP)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return False
            raise
        return True

    def receive(self) -> bool:
        """Wait for a call and put it into :attr:`notification`; False when there was none after all.

        That is so when its thread died or was interrupted meanwhile (ENOENT), when a signal came to us
        (EINTR), and since Linux 6.11 at once, again and again, when the last filtered task has ended. Before
        that this waits for ever then. So ask :meth:`finished` after False, or poll for POLLHUP.
        """
        buffer = self._buffer
        # The kernel refuses a buffer that is not zero (EINVAL), so that it can become larger one day.
        buffer[_ALL] = _ZEROS
        try:
            if self._address:
                _receive_at(self._fd, self._address)
            else:
                ioctl(self._fd, IOCTL_RECV, buffer)
        except (FileNotFoundError, InterruptedError):
            return False
        self.notification = _unpack(buffer)
        return True

    def finished(self) -> bool:
        """Tell whether the last task under the filter has ended (POLLHUP, Linux 5.9)."""
        poll = select.poll()
        poll.register(self._fd, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def responder(self) -> Responder:
        """Return an object that answers from another thread, for as long as this one is open."""
        return Responder(self._fd, outlived=self._outlived)

    def close(self) -> None:
        """Close the descriptor. After the last one, calls that wait or are trapped later fail with ENOSYS."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
