"""Makes calls of every plane, from several threads and from children."""

import contextlib
import os
import socket
import threading

os.close(os.open(os.devnull, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640))
os.stat("/etc/passwd")
os.lstat("/app/data/link")
os.stat("/app/config.yaml")
os.readlink("/app/data/link")
os.readlink("/bin")
os.access("/etc", os.R_OK | os.X_OK)
os.access("/app/config.yaml", os.R_OK)
os.listdir("/app")
with contextlib.suppress(OSError):
    os.open('/app/not there, but "quoted" and \n broken', os.O_RDONLY)
with contextlib.suppress(OSError):
    os.listxattr("/etc")

server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
client.getpeername()
client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
with contextlib.suppress(OSError):
    socket.socket(socket.AF_INET6).connect(("::1", 1))
with contextlib.suppress(OSError):
    socket.socket(socket.AF_UNIX).connect("/run/nobody")
with contextlib.suppress(OSError):
    socket.socket(socket.AF_UNIX).connect("\0nobody")

datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.sendto(b"x" * 50 + b'"\n\0\377', ("127.0.0.1", 9999))
datagrams.sendmsg([b"two", b"parts"], [], 0, ("127.0.0.1", 9999))
os.uname()
with socket.create_connection(("web.default.svc.cluster.local", 80)) as web:
    web.getpeername()
    web.getsockname()
    web.sendall(b"GET / HTTP/1.0\r\n\r\n")
    web.recv(1000)
with contextlib.suppress(OSError):
    socket.create_connection(("echo", 9))


def read_often() -> None:
    """Open a file again and again."""
    for _ in range(20):
        with open("/app/config.yaml") as file:
            file.read()


threads = [threading.Thread(target=read_often) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os.system("echo a child; ls /app >/dev/null")
