"""A client that tries again at once: for each line of input requests to HOST PORT, until NAME answers one.

It prints what each attempt before came to, on one line; between two attempts there are PAUSE seconds.
"""

import http.client
import sys
import time

PAUSE = 0.05
LONGEST = 20


def attempt(host: str, port: int) -> str:
    """Return what answers, or why nothing does."""
    connection = http.client.HTTPConnection(host, port, timeout=LONGEST)
    try:
        connection.request("GET", "/?again", headers={"X-User": "me"})
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


host, port, name = sys.argv[1:]
print("ready", flush=True)
for _ in sys.stdin:
    failures = []
    while name not in (answer := attempt(host, int(port))):
        failures.append((answer.split() or ["nothing"])[0])
        time.sleep(PAUSE)
    print(*failures, flush=True)
