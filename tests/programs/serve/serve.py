"""A server that prints who asks for what."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers everything the same."""

    def do_GET(self) -> None:
        # by one write: print makes two, and there is a thread for each request
        sys.stdout.write(f"{os.getpid()} {self.client_address[0]} {self.command} {self.path} 0\n")
        sys.stdout.flush()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"local\n")

    def log_message(self, *_: object) -> None:
        return


ThreadingHTTPServer(("", 8080), Handler).serve_forever()
