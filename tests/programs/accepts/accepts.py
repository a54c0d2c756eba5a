"""A server that accepts connections in one of many ways, and prints of each the peer and the first line.

The first argument names the way. It prints ``ready`` once it listens, and ends after as many connections as
the second argument says, one if there is none.
"""

import array
import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

PORT = int(os.environ.get("ACCEPTS_PORT", "8080"))
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 1
libc = ctypes.CDLL(None, use_errno=True)


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def listener(
    family: int = socket.AF_INET, host: str = "", port: int = PORT, **options: bool
) -> socket.socket:
    return socket.create_server((host, port), family=family, backlog=64, **options)


def serve(sock: socket.socket, peer: tuple[str, int] | None, *more: object) -> None:
    """Read the request, compare what accept and getpeername say, answer."""
    with sock:
        sock.settimeout(20)
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65_536) or b"\r\n\r\n"
        asked = sock.getpeername()[:2]
        if peer is not None and peer[:2] != asked:
            say("accept and getpeername differ:", peer, asked)
        line = data.split(b"\r\n")[0].decode()
        say(asked[0], sock.getsockname()[1], line, *more)
        with contextlib.suppress(OSError):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlocal\n")


def blocking() -> None:
    with listener() as server:
        say("ready")
        for _ in range(COUNT):
            serve(*server.accept())


def ipv6() -> None:
    with listener(socket.AF_INET6, "::") as server:
        say("ready")
        for _ in range(COUNT):
            serve(*server.accept())


def dual() -> None:
    with listener(socket.AF_INET6, "::", dualstack_ipv6=True) as server:
        say("ready")
        for _ in range(COUNT):
            serve(*server.accept())


def both() -> None:
    """Have a listener for each of IPv4 and IPv6, as many servers do."""
    servers = [listener(), listener(socket.AF_INET6, "::")]
    say("ready")
    for _ in range(COUNT):
        for server in select.select(servers, [], [])[0]:
            serve(*server.accept(), "IPv6" if server is servers[1] else "IPv4")


def pod_address() -> None:
    port = int(sys.argv[4]) if len(sys.argv) > 4 else PORT
    with listener(host=sys.argv[3], port=port) as server:
        say("ready", *server.getsockname())
        serve(*server.accept())


def no_address() -> None:
    """Accept by a call that asks for no address."""
    with listener() as server:
        say("ready")
        for _ in range(COUNT):
            serve(socket.socket(fileno=libc.accept(server.fileno(), None, None)), None)


def edge() -> None:
    """Drain a non-blocking listener at each edge."""
    with listener() as server, select.epoll() as epoll:
        server.setblocking(False)
        epoll.register(server, select.EPOLLIN | select.EPOLLET)
        say("ready")
        served = 0
        while served < COUNT:
            epoll.poll()
            with contextlib.suppress(BlockingIOError):
                while True:
                    serve(*server.accept())
                    served += 1
        say("drained")


def nonblocking_child() -> None:
    """Ask accept4 for a non-blocking, close-on-exec connection, and for the opposite."""
    with listener() as server:
        say("ready")
        for flags in (socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0):
            name, length = ctypes.create_string_buffer(128), ctypes.c_int(128)
            fd = libc.accept4(server.fileno(), name, ctypes.byref(length), flags)
            say("blocking" if os.get_blocking(fd) else "non-blocking", os.get_inheritable(fd), length.value)
            accepted = socket.socket(fileno=fd)
            accepted.setblocking(True)
            serve(accepted, None)


def timed_out() -> None:
    with listener() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 0, 50_000))
        say("ready")
        try:
            server.accept()
        except BlockingIOError:
            say("EAGAIN")


class Alarm(Exception):
    pass


def interrupted() -> None:
    """Have a signal interrupt a blocked accept, then accept."""

    def ring(number: int, frame: object) -> None:
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    with listener() as server:
        for _ in range(3):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try:
                server.accept()
            except Alarm:
                say("interrupted")
        say("ready")
        serve(*server.accept())


def restarted() -> None:
    """Have signals come whose handler restarts the accept (SA_RESTART)."""
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.siginterrupt(signal.SIGALRM, False)
    with listener() as server:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        say("ready")
        for _ in range(COUNT):
            serve(*server.accept())
        # at its end the interpreter restores what a signal does by default
        signal.setitimer(signal.ITIMER_REAL, 0)


def emfile() -> None:
    """Have no descriptor left, then one again: the connection must still be there."""
    with listener() as server:
        fds = [int(name) for name in os.listdir("/proc/self/fd")]
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(fds) + 1, hard))
        full: list[int] = []
        with contextlib.suppress(OSError):
            while True:
                full.append(os.dup(1))
        say("ready")
        failures = 0
        while failures < 5:
            select.select([server], [], [])
            try:
                server.accept()
            except OSError as error:
                failures += 1
                last = error.strerror
        say(last)
        os.close(full[0])
        select.select([server], [], [])
        serve(*server.accept())


def prefork() -> None:
    """Fork four workers that share a listener."""
    with listener() as server:
        workers = [_worker(server) for _ in range(4)]
        say("ready")
        _wait(workers)


def reuseport() -> None:
    """Fork four workers with a listener each on the same port."""
    with listener(reuse_port=True) as first:
        workers = [_worker(first)]
        for _ in range(3):
            pid = os.fork()
            if not pid:
                first.close()
                with listener(reuse_port=True) as own:
                    say("listens")
                    _accept_for_ever(own)
            workers.append(pid)
        first.close()
        say("ready")
        _wait(workers)


def _worker(server: socket.socket) -> int:
    pid = os.fork()
    if not pid:
        _accept_for_ever(server)
    return pid


def _accept_for_ever(server: socket.socket) -> None:
    while True:
        serve(*server.accept(), os.getpid())


def _wait(workers: list[int]) -> None:
    sys.stdin.read()
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def passed() -> None:
    """Give the listener to another process over a unix socket, and close it here."""
    ours, theirs = socket.socketpair()
    server = listener()
    if not os.fork():
        server.close()
        ours.close()
        _, [(_, _, data)], *_ = theirs.recvmsg(1, 64)
        fds = array.array("i", data)
        with socket.socket(fileno=fds[0]) as received:
            say("ready")
            serve(*received.accept())
        os._exit(0)
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [server.fileno()]))])
    server.close()
    os.wait()


def executed() -> None:
    """Keep the listener over an exec."""
    if len(sys.argv) > 3:
        with socket.socket(fileno=int(sys.argv[3])) as server:
            say("ready")
            serve(*server.accept())
        return
    server = listener()
    server.set_inheritable(True)
    os.execv(sys.executable, [sys.executable, *sys.argv[:2], "1", str(server.fileno())])


def again() -> None:
    """Listen twice on a socket; close it, and listen on another; a connection goes on meanwhile."""
    server = listener()
    server.listen(64)
    say("ready", *server.getsockname())
    connection, peer = server.accept()
    server.close()
    with listener() as second:
        say("again", *second.getsockname())
        serve(connection, peer)
        serve(*second.accept())


def in_use() -> None:
    """Bind the same port twice, as is refused anywhere."""
    with listener() as server:
        say("ready", *server.getsockname())
        try:
            listener()
        except OSError as error:
            say(os.strerror(error.errno or 0))
        serve(*server.accept())


def itself() -> None:
    """Connect to itself at the port that it asked for."""
    with listener() as server:
        say("ready")
        with socket.create_connection(("127.0.0.1", PORT)) as client:
            accepted, peer = server.accept()
            say(peer == client.getsockname(), accepted.getpeername() == peer)
            accepted.sendall(b"word")
            say(client.recv(4).decode())


def chosen() -> None:
    """Let the kernel choose a port."""
    with (
        listener(port=0) as server,
        socket.create_connection(("127.0.0.1", server.getsockname()[1])) as client,
    ):
        accepted, peer = server.accept()
        say("ready", peer == client.getsockname(), accepted.getpeername() == peer)


def killed() -> None:
    """Kill a worker that is blocked in accept, and listen on the same port at once, again and again."""
    port = int(sys.argv[3])
    for _ in range(10):
        server = listener(port=port)
        pid = os.fork()
        if not pid:
            server.accept()
        server.close()
        _until_blocked(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with listener(port=port) as server:
        say("ready", *server.getsockname())


def _until_blocked(pid: int) -> None:
    while "accept" not in _wchan(pid) and "seccomp" not in _wchan(pid) and not _stopped_in_accept(pid):
        time.sleep(0.001)


def _stopped_in_accept(pid: int) -> bool:
    """Tell whether a tracer keeps it at accept4(2), by its number on x86_64 or aarch64."""
    with open(f"/proc/{pid}/syscall") as stream:
        number = stream.read().split()[0]
    return "ptrace" in _wchan(pid) and number in ("288", "242")


def _wchan(pid: int) -> str:
    with open(f"/proc/{pid}/wchan") as stream:
        return stream.read()


def several() -> None:
    """Listen on the ports that are named, with one connection for each."""
    servers = [listener(port=int(port)) for port in sys.argv[3:]]
    say("ready", *(server.getsockname()[1] for server in servers))
    for _ in range(COUNT):
        for server in select.select(servers, [], [])[0]:
            serve(*server.accept(), server.getsockname()[1])


def closing() -> None:
    """Close the listener, with a connection that goes on, and say so."""
    server = listener()
    say("ready")
    connection, peer = server.accept()
    server.close()
    say("closed")
    sys.stdin.read()
    serve(connection, peer)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
