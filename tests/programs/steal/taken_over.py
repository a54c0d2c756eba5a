"""One program's connection goes on while another listens on its port; each answers with its own word."""

import socket


def answer(connection: socket.socket, word: str) -> None:
    if connection.recv(65_536):
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(word)}\r\n\r\n{word}".encode())


with socket.create_server(("", 8080)) as server:
    print("ready", flush=True)
    first, _ = server.accept()
    answer(first, "first")
with socket.create_server(("", 8080)) as server:
    print("ready again", flush=True)
    second, _ = server.accept()
    answer(second, "second")
    answer(first, "first")
first.close()
second.close()
