"""Deciding requests."""

from mirrord_agent.http.filter import BodyFilter, HttpFilter
from mirrord_agent.http.output import Decider, Side
from mirrord_agent.http.request import Request

from .world import TAKE


def test_requests_are_decided_and_counted_once() -> None:
    seen: list[tuple[str, Side]] = []
    decider = Decider(TAKE, on_decided=lambda request, side: seen.append((request.target, side)))
    assert decider.decide(Request("GET", "/1", ("X-Take: yes",))) is Side.LOCAL
    assert decider.decide(Request("GET", "/2", ())) is Side.ORIGINAL
    decider.wanted = False
    assert decider.decide(Request("GET", "/3", ("X-Take: yes",))) is Side.ORIGINAL
    assert seen == [("/1", Side.LOCAL), ("/2", Side.ORIGINAL), ("/3", Side.ORIGINAL)]


def test_without_its_body_a_request_may_be_undecided() -> None:
    seen: list[Side] = []
    filter = HttpFilter(body_filter=BodyFilter(body="json", query="$", matches="^1$"))
    decider = Decider(filter, on_decided=lambda _, side: seen.append(side))
    assert decider.decide(Request("POST", "/", ())) is None
    assert seen == []
    assert decider.decide(Request("POST", "/", (), b"1")) is Side.LOCAL
    decider.wanted = False
    assert decider.decide(Request("POST", "/", ())) is Side.ORIGINAL
