"""Prints what this program sees of its pod; of each file that is named, else of one, the first line."""

import os
import socket
import sys
import urllib.request
from pathlib import Path

HOST = "echo.default.svc.cluster.local"

with urllib.request.urlopen(f"http://{HOST}/bytes?n=16") as response:
    body = response.read()
print(f"greeting={os.environ.get('GREETING', '')}")
print(f"hostname={socket.gethostname()}")
for name in sys.argv[1:] or ["/app/config.yaml"]:
    print(f"config={Path(name).read_text().splitlines()[0]}")
print(f"echo={socket.getaddrinfo(HOST, 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]}")
print(f"answer={body.hex()}")
