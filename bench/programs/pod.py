"""pod.py PORT GREETING: what a pod serves: ``/bytes?n=N`` as fast as a socket takes it, and ``ok`` for all
else; at the port GREETING it speaks first, as mail servers do.
"""

import socket
import sys
import threading

_PIECE = memoryview(bytes(256 * 1024))


def _serve(sock: socket.socket) -> None:
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = sock.recv(65536)
        _, found, size = asked.partition(b"/bytes?n=")
        left = int(size.split()[0]) if found else 0
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + (b"" if found else b"ok"))
        while left:
            left -= sock.send(_PIECE[: min(left, len(_PIECE))])


def _greet(port: int) -> None:
    with socket.create_server(("", port), backlog=128) as listener:
        while True:
            sock, _peer = listener.accept()
            with sock:
                sock.sendall(b"220 ready\r\n")


def main() -> None:
    """Serve until killed."""
    threading.Thread(target=_greet, args=(int(sys.argv[2]),), daemon=True).start()
    with socket.create_server(("", int(sys.argv[1])), backlog=128) as listener:
        while True:
            sock, _peer = listener.accept()
            threading.Thread(target=_serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
