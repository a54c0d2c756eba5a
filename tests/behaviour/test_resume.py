"""A link that breaks is brought back: no byte is lost or repeated, and the program sees only a delay."""

import re
from collections.abc import Callable
from typing import Final

from ..conftest import Line
from ..support.build import SYSTEM_PYTHON
from ..support.relay import Relay
from ..support.running import Runner, read_line, write
from ..support.waiting import until

ROUNDS: Final = 6
TRANSFER: Final = """
import hashlib, os, random, socket, sys, threading

rounds = int(sys.argv[1])
sock = socket.create_connection(("10.96.0.20", 7))
for number in range(rounds):
    data = random.Random(number).randbytes(700_000 + number)
    writer = threading.Thread(target=sock.sendall, args=(data,))
    writer.start()
    came = bytearray()
    half = False
    while len(came) < len(data):
        piece = sock.recv(65_536)
        if not piece:
            sys.exit("the connection ended")
        came += piece
        if not half and len(came) > len(data) // 2:
            half = True
            print("half", flush=True)
        os.stat(f"/app/data/{len(came) % 100:04}.txt")
    writer.join()
    print("same" if hashlib.sha256(came).digest() == hashlib.sha256(data).digest() else "other", flush=True)
sock.shutdown(socket.SHUT_WR)
print("end", sock.recv(1), flush=True)
"""


def test_a_link_that_is_cut_again_and_again_loses_and_repeats_nothing(
    line: Line, runner: Runner, slow: Callable[..., Relay]
) -> None:
    link = slow(rate=8_000_000)
    script = line(SYSTEM_PYTHON, "-c", TRANSFER, str(ROUNDS), options=["-v"])
    with runner.start(script, env=link.env) as process:
        printed = []
        for _ in range(ROUNDS):
            printed.append(read_line(process))
            link.cut()
            printed.append(read_line(process))
        printed.append(read_line(process))
        _, said = process.communicate(timeout=30)

    assert printed == ["half", "same"] * ROUNDS + ["end b''"]
    assert process.returncode == 0
    assert link.connections == 1 + ROUNDS
    assert len(re.findall("the link to the agent is back after", said)) >= 1
    assert "gone" not in said


WAITING: Final = """
import os, sys
print("ready", flush=True)
sys.stdin.readline()
print(os.stat("/app/config.yaml").st_size > 0, flush=True)
"""


def test_a_call_waits_for_the_link_to_come_back(
    line: Line, runner: Runner, slow: Callable[..., Relay]
) -> None:
    link = slow()
    with runner.start(line(SYSTEM_PYTHON, "-c", WAITING), env=link.env) as process:
        assert read_line(process) == "ready"
        link.stall()
        write(process, "\n")
        link.cut()
        until("the connection is replaced", lambda: link.connections > 1)
        link.resume()
        assert read_line(process) == "True"
        assert process.wait(20) == 0
