"""Answers that are due."""

import pytest
from mirrord_agent.http.answers import Answers, bad_gateway
from mirrord_agent.http.message import NotHttp, RequestParser
from mirrord_agent.http.output import Limits

LIMITS = Limits()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _parsed(request: bytes) -> RequestParser:
    parser = RequestParser(LIMITS)
    parser.feed(request)
    return parser


def _expecting(*methods: bytes, continued: bool = False) -> Answers:
    answers = Answers(LIMITS)
    for method in methods:
        parser = _parsed(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        answers.expect(parser, continued=continued)
        answers.finish(parser)
    return answers


def test_a_head_is_told_as_a_whole_and_a_body_as_it_comes() -> None:
    answers = _expecting(b"GET", b"GET")
    assert answers.feed(OK[:10]).told == b""
    assert answers.feed(OK[10:-1]).told == OK[:-1]
    assert answers.has_begun
    step = answers.feed(OK[-1:] + OK)
    assert (step.told, step.rest, step.answer is not None) == (OK[-1:], OK, True)
    assert len(answers) == 1


def test_what_is_no_answer_is_spilt() -> None:
    answers = _expecting(b"GET")
    answers.feed(b"HTTP/1.1 2")
    with pytest.raises(NotHttp):
        answers.feed(b"nonsense\r\n\r\n")
    assert answers.spill() == b"HTTP/1.1 2"
    assert answers.spill() == b""


def test_a_continue_that_the_client_has_had_is_dropped_once() -> None:
    answers = _expecting(b"PUT", continued=True)
    again = b"HTTP/1.1 100 Continue\r\n\r\n"
    step = answers.feed(again + again + OK)
    assert (step.told, step.rest) == (b"", again + OK)
    assert answers.feed(step.rest).told == again + OK


def test_who_may_be_asked_again() -> None:
    assert _expecting(b"PUT").may_be_asked_again
    assert not _expecting(b"POST").may_be_asked_again
    assert not _expecting(b"GET", b"GET").may_be_asked_again
    assert not Answers(LIMITS).may_be_asked_again
    answers = _expecting(b"GET")
    answers.feed(OK[:10])
    answers.begin_again()
    assert answers.feed(OK).told == OK


def test_upgrades_are_known_of_the_last_request_only() -> None:
    answers = _expecting(b"GET")
    assert not answers.may_upgrade
    parser = _parsed(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    answers.expect(parser, continued=False)
    assert not answers.may_upgrade
    answers.finish(parser)
    assert answers.may_upgrade


def test_bad_gateways_for_all_and_the_last_closes_while_the_client_sends() -> None:
    answers = _expecting(b"GET", b"HEAD")
    answers.feed(OK[:10])
    given = [*answers.bad_gateways("gone", sending=True)]
    assert given == [
        (bad_gateway("gone", method=b"GET", closes=False), False),
        (bad_gateway("gone", method=b"HEAD", closes=True), True),
    ]
    assert given[0][0].endswith(b"Content-Length: 14\r\n\r\nmirrord: gone\n")
    assert given[1][0].endswith(b"Content-Length: 14\r\nConnection: close\r\n\r\n")
    assert not answers
    assert answers.spill() == b""
