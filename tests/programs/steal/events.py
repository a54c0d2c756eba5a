"""A client of server-sent events that asks for the next one when it has the one before: HOST PORT USER."""

import http.client
import sys

host, port, user = sys.argv[1:]


def ask(method: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request(method, path, headers={"X-User": user})
    return connection.getresponse()


events = ask("GET", "/events")
while line := events.readline():
    if line.strip():
        print(line.decode().strip(), flush=True)
        ask("POST", "/next").read()
print("end")
