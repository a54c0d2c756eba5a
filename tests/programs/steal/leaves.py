"""A server on 8080 that takes one request and goes away without an answer; it ends with its input."""

import socket
import sys

with socket.create_server(("", 8080)) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    connection.recv(65_536)
    print("asked", flush=True)
    sys.stdin.readline()
connection.close()
print("left", flush=True)
sys.stdin.read()
