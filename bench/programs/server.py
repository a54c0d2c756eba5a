"""server.py PORT: answers each HTTP request at once, so that little but the way to it is measured."""

import os
import select
import socket
import sys

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except ConnectionError:
        # the client was done before all answers were there
        return b""


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
                elif data := _received(socks[number]):
                    socks[number].sendall(_ANSWER * data.count(b"\r\n\r\n"))
                else:
                    poll.unregister(number)
                    socks.pop(number).close()


if __name__ == "__main__":
    main()
