"""Makes local calls of many kinds, whose results are the same in every run: `local.py FOLDER PORT`."""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import struct
import sys
import threading

folder, port = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)


def files() -> None:
    """Make, look at, change and remove."""
    os.mkdir(folder)
    os.chdir(folder)
    os.close(os.open("file", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640))
    os.truncate("file", 12345)
    os.symlink("file", "link")
    os.link("file", "other")
    for path in ("file", "link", "missing", "file/below"):
        with contextlib.suppress(OSError):
            os.stat(path)
        with contextlib.suppress(OSError):
            os.lstat(path)
        with contextlib.suppress(OSError):
            os.readlink(path)
        os.access(path, os.R_OK | os.W_OK)
    with contextlib.suppress(OSError):
        os.open("file", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.getcwd()
    libc.getcwd(ctypes.create_string_buffer(1), 1)
    libc.stat(b"file", None)
    os.rename("other", "another")
    os.chmod("file", 0o600)
    os.listdir(".")
    os.uname()
    for path in ("file", "link", "another"):
        os.unlink(path)
    os.chdir("/")
    os.rmdir(folder)


def sockets() -> None:
    """Connect, accept with an address, ask for names, send and receive."""
    server = socket.create_server(("127.0.0.1", port))
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    accepted.getpeername()
    client.getsockname()
    client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    client.sendall(b"some bytes")
    accepted.recvmsg(4)
    with contextlib.suppress(OSError):
        client.connect(("127.0.0.1", port))
    one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    one.bind(("127.0.0.1", port))
    other.sendto(b"a datagram", ("127.0.0.1", port))
    one.recvfrom(100)
    other.sendmsg([b"two", b"parts"], [], 0, ("127.0.0.1", port))
    one.recvmsg(100, 100)
    with contextlib.suppress(BlockingIOError):
        one.recvmsg(100, 0, socket.MSG_DONTWAIT)
    unix = socket.socket(socket.AF_UNIX)
    for path in ("/run/nobody", "\0nobody"):
        with contextlib.suppress(OSError):
            unix.connect(path)


def interrupted() -> None:
    """Be interrupted in a call: one is made again, and one fails."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", port))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    buffer, address, size = (ctypes.create_string_buffer(count) for count in (16, 16, 4))

    def receive() -> int:
        struct.pack_into("=i", size, 0, 16)
        return int(libc.recvfrom(receiver.fileno(), buffer, 16, 0, address, size))

    for restarts in (True, False):
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, not restarts)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        later = threading.Timer(0.2, sender.sendto, (b"at last", ("127.0.0.1", port)))
        if restarts:
            later.start()
        assert receive() == (7 if restarts else -1), ctypes.get_errno()
        assert restarts or ctypes.get_errno() == errno.EINTR


files()
sockets()
interrupted()
for _ in range(2):
    thread = threading.Thread(target=os.stat, args=("/etc/passwd",))
    thread.start()
    thread.join()
os.system("cd /etc && test -f hostname; exec cat /missing 2>/dev/null")
if os.fork() == 0:
    # the process goes on under its leader's number
    threading.Thread(target=os.execv, args=("/bin/cat", ["cat", "/dev/null"])).start()
    signal.pause()
os.wait()
sys.stdout.flush()
os.execv("/bin/true", ["true"])
