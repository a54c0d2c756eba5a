import pytest

from bench.command import BenchError
from bench.wrk import parse

SAID = """Running 2s test @ http://10.244.0.2:9191/
  1 threads and 16 connections
  Latency Distribution
     50%  513.00us
     75%  606.00us
     99%    1.58ms
  61370 requests in 2.00s, 2.34MB read
Requests/sec:  30684.65
Transfer/sec:      1.17MB
"""


def test_what_wrk_prints() -> None:
    assert parse(SAID) == {
        "throughput": 30684.65,
        "median latency": pytest.approx(513e-6),
        "p99 latency": pytest.approx(1.58e-3),
    }


@pytest.mark.parametrize(
    "said",
    [
        "",
        SAID.replace("99%", "98%"),
        SAID + "  Socket errors: connect 0, read 4\n",
        SAID + "  Non-2xx or 3xx responses: 4\n",
    ],
)
def test_half_a_measurement_is_none(said: str) -> None:
    with pytest.raises(BenchError, match="wrk says"):
        parse(said)
