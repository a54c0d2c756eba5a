"""``python -m bench [--quick] [--record] [ROW…]``: measure, and print a table."""

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Final

from bench import attach, busy, calls, cluster, crowd, incoming, link, programs, startup, throughput, watching
from bench.command import ROOT, BenchError
from bench.options import Options
from bench.report import Line, machine, record, table

Row = Callable[[Options], Iterable[Line]]
ROWS: Final[dict[str, Row]] = {
    "openat": calls.openat,
    "stat": calls.stat,
    "connect": calls.connect,
    "messages": calls.messages,
    "untrapped": calls.untrapped,
    "kubernetes": programs.kubernetes,
    "git": programs.git,
    "exec": programs.executions,
    "find": programs.find,
    "trace": watching.plain,
    "dashboard": watching.dashboard,
    "link": link.latency,
    "requests": throughput.requests,
    "bulk": throughput.bulk,
    "connections": crowd.memory,
    "incoming": incoming.incoming,
    "busy": busy.trap,
    "attach": attach.stopped,
    "start": startup.startup,
    "cluster": cluster.link,
    "cluster-start": cluster.start,
}
_DOCUMENT: Final = ROOT / "docs" / "performance.md"


def main() -> int:
    """Run the rows that were asked for, printing a table of each; return 1 if one could not be measured."""
    arguments = _parser().parse_args()
    options = Options(quick=arguments.quick)
    lines: list[Line] = []
    failed = False
    for name in arguments.rows or ROWS:
        print(f"measuring {name} …", file=sys.stderr)
        try:
            measured = list(ROWS[name](options))
        except BenchError as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
        else:
            print(f"{table(measured)}\n", flush=True)
            lines += measured
    print(machine())
    if arguments.record:
        record(_DOCUMENT, lines)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what mirrord costs.")
    parser.add_argument(
        "rows", nargs="*", type=_row, metavar="ROW", help=f"of {', '.join(ROWS)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: rough numbers")
    parser.add_argument("--record", action="store_true", help="also write docs/performance.md")
    return parser


def _row(name: str) -> str:
    if name not in ROWS:
        raise argparse.ArgumentTypeError(f"no row {name!r}; there are {', '.join(ROWS)}")
    return name


if __name__ == "__main__":
    sys.exit(main())
