import dns.message
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirrord.link import names as module
from mirrord.link.names import KnownNames


def answer(question: str, *records: tuple[str, str, str]) -> bytes:
    query = dns.message.make_query(question, "A")
    response = dns.message.make_response(query)
    for owner, kind, value in records:
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, value))
    return response.to_wire()


def test_nothing_is_known_before_the_first_answer() -> None:
    assert not KnownNames().of("10.0.0.1")


def test_an_answer_names_its_addresses() -> None:
    known = KnownNames()
    known.learn(
        answer("Web.Example.", ("web.example.", "A", "10.0.0.1"), ("web.example.", "AAAA", "2001:db8::1"))
    )
    assert [*known.of("10.0.0.1")] == ["web.example"]
    assert [*known.of("2001:db8::1")] == ["web.example"]
    assert not known.of("10.0.0.2")


def test_a_chain_of_names_ends_in_the_address() -> None:
    known = KnownNames()
    known.learn(
        answer(
            "www.example.",
            ("www.example.", "CNAME", "cdn.example."),
            ("cdn.example.", "CNAME", "edge.example."),
            ("edge.example.", "A", "10.0.0.1"),
        )
    )
    assert set(known.of("10.0.0.1")) >= {"www.example", "edge.example"}


def test_names_of_one_address_add_up() -> None:
    known = KnownNames()
    known.learn(answer("a.example.", ("a.example.", "A", "10.0.0.1")))
    known.learn(answer("b.example.", ("b.example.", "A", "10.0.0.1")))
    assert set(known.of("10.0.0.1")) == {"a.example", "b.example"}


def test_of_the_names_of_one_address_the_latest_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_OF_ONE", 2)
    known = KnownNames()
    for letter in "abac":
        name = f"{letter}.example."
        known.learn(answer(name, (name, "A", "10.0.0.1")))
    assert set(known.of("10.0.0.1")) == {"a.example", "c.example"}


def test_a_question_teaches_nothing() -> None:
    known = KnownNames()
    known.learn(dns.message.make_query("web.example.", "A").to_wire())
    known.learn(answer("web.example."))
    known.learn(answer("web.example.", ("web.example.", "TXT", '"10.0.0.1"')))
    assert not known.of("10.0.0.1")


@given(st.binary(max_size=600))
def test_garbage_teaches_nothing(garbage: bytes) -> None:
    KnownNames().learn(garbage)


WHOLE = answer("www.example.", ("www.example.", "CNAME", "cdn.example."), ("cdn.example.", "A", "10.0.0.1"))


def test_an_address_record_of_another_class_teaches_nothing() -> None:
    known = KnownNames()
    known.learn(
        WHOLE.replace(b"\x00\x01\x00\x01\x00\x00\x00<\x00\x04", b"\x00\x01\x01\x01\x00\x00\x00<\x00\x04")
    )
    assert not known.of("10.0.0.1")


@example(51, 1)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_damaged_answer_does_no_harm(place: int, value: int) -> None:
    KnownNames().learn(WHOLE[:place])
    KnownNames().learn(WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :])


def test_the_oldest_addresses_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    known = KnownNames()
    for last in (1, 2, 1, 3):
        known.learn(answer("a.example.", ("a.example.", "A", f"10.0.0.{last}")))
    assert [bool(known.of(f"10.0.0.{last}")) for last in (1, 2, 3)] == [True, False, True]
