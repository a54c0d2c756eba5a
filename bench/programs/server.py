"""server.py PORT: answers each HTTP request at once, so that little but the way to it is measured.

``GET /bytes?n=SIZE`` gets that many bytes and the end, ``POST`` its answer when its body has come.
"""

import os
import select
import socket
import sys

_PIECE = memoryview(bytes(256 * 1024))
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _served(sock: socket.socket) -> bool:
    """Answer what has come; return whether there may be more."""
    try:
        data = sock.recv(65536)
        return bool(data) and _answered(sock, data)
    except ConnectionError:
        # the client was done before all answers were there
        return False


def _answered(sock: socket.socket, data: bytes) -> bool:
    if data.startswith(b"GET /bytes?n="):
        left = int(data.split(b"n=")[1].split()[0])
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        while left:
            left -= sock.send(_PIECE[: min(left, len(_PIECE))])
        return False
    if data.startswith(b"POST "):
        head, _, body = data.partition(b"\r\n\r\n")
        left = int(head.split(b"Content-Length: ")[1].split()[0]) - len(body)
        while left > 0:
            left -= len(sock.recv(len(_PIECE)))
        sock.sendall(_ANSWER)
        return False
    sock.sendall(_ANSWER * data.count(b"\r\n\r\n"))
    return True


def main() -> None:
    """Serve until killed."""
    # the client has the first processor; see there
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}
    with socket.create_server(("", int(sys.argv[1])), backlog=128) as listener:
        poll.register(listener, select.EPOLLIN)
        print("ready", flush=True)
        while True:
            for number, _ in poll.poll():
                if number == listener.fileno():
                    sock, _peer = listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    socks[sock.fileno()] = sock
                    poll.register(sock, select.EPOLLIN)
                elif not _served(socks[number]):
                    poll.unregister(number)
                    socks.pop(number).close()


if __name__ == "__main__":
    main()
