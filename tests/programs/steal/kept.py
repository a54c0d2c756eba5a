"""A client that keeps one connection: for each line of input a request; it prints what answers.

Arguments: host and port. A line is a path, and after it headers as ``name:value``.
"""

import http.client
import sys

connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=30)
connection.connect()
first = connection.sock
print("connected", flush=True)
for line in sys.stdin:
    path, *headers = line.split()
    try:
        connection.request("GET", path, headers=dict(header.split(":") for header in headers))
        response = connection.getresponse()
        body = " ".join(response.read().decode().split())
        same = "same" if connection.sock is first else "other"
        print(response.status, same, body, flush=True)
    except (OSError, http.client.HTTPException) as error:
        print("failed", type(error).__name__, flush=True)
        connection.close()
