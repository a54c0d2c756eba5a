"""Load a filter, perform a system call, write its result to stdout, and exit with its errno.

A program of its own, because a filter never comes off. With ``--socket`` the filter's listener is sent there.
The program stays until its stdin ends, to be looked at. A filter that cannot be loaded is reported as
``load ERRNO``.
"""

import argparse
import ctypes
import os
import signal
import socket
import sys
import threading

from mirrord_seccomp import load


def main() -> int:
    options = _options()
    signal.signal(signal.SIGUSR1, lambda *_: None)
    go, done = threading.Event(), threading.Event()
    code = [0]

    def perform() -> None:
        go.wait()
        for _ in range(options.calls):
            code[0] = _perform(options.call)
        done.set()

    if options.in_thread:
        threading.Thread(target=perform, daemon=True).start()
    load.set_no_new_privs()
    try:
        listeners = [load.load(options.program, options.flags) for _ in range(options.times)]
    except OSError as error:
        print("load", error.errno, flush=True)
        return 0
    if options.socket is not None:
        _hand_over(options.socket, listeners[0])
    go.set()
    if options.in_thread:
        done.wait()
    else:
        perform()
    sys.stdin.buffer.read()
    return code[0]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=bytes.fromhex)
    parser.add_argument("call", type=int, nargs="+", help="the number, then the arguments")
    parser.add_argument("--flags", type=int, default=0)
    parser.add_argument("--socket", type=int, help="a descriptor")
    parser.add_argument("--times", type=int, default=1, help="how often the filter is loaded")
    parser.add_argument("--calls", type=int, default=1, help="how often the call is made")
    parser.add_argument("--in-thread", action="store_true")
    return parser.parse_args()


def _hand_over(fd: int, listener: int) -> None:
    with socket.socket(fileno=fd) as channel:
        socket.send_fds(channel, [b"listener"], [listener])
    os.close(listener)


def _perform(call: list[int]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(*(ctypes.c_ulong(argument) for argument in call))
    os.write(1, b"%d\n" % result)
    return ctypes.get_errno() if result == -1 else 0


if __name__ == "__main__":
    sys.exit(main())
