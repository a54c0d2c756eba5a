"""What the pods of the tests run: an HTTP server that gives bytes and tells who it is."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    """``/bytes?n=N`` gives that many; everything else the pod's name."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        size = int(parse_qs(parts.query).get("n", ["0"])[0])
        body = bytes(index % 251 for index in range(size)) if parts.path == "/bytes" else self._who()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _who(self) -> bytes:
        return f"{socket.gethostname()} {os.environ.get('GREETING', '')}\n".encode()


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
