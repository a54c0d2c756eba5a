"""Messages to nf_tables: their layout, transactions, and refusals."""

import errno

import pytest
from mirrord_agent.steal.netfilter import Do, Flag, Message, Netfilter, attribute, nested, number, text

from ..namespace import in_namespace


def test_attributes_are_padded_but_say_their_length() -> None:
    assert attribute(3, b"abcde") == b"\x09\x00\x03\x00abcde\0\0\0"
    assert text(1, "abc") == b"\x08\x00\x01\x00abc\0"
    assert number(2, -105) == b"\x08\x00\x02\x00\xff\xff\xff\x97"
    assert nested(4, number(1, 3)) == b"\x0c\x00\x04\x80\x08\x00\x01\x00\x00\x00\x00\x03"


def _table(name: str, flags: int = Flag.CREATE | Flag.EXCLUSIVE) -> Message:
    return Message(Do.NEW_TABLE, flags, text(1, name) + number(2, 2))


@in_namespace
def test_a_transaction_is_done_whole_or_not_at_all() -> None:
    ours, theirs = Netfilter(), Netfilter()
    ours.commit([_table("one")])
    with pytest.raises(PermissionError):
        theirs.commit([_table("two"), _table("one"), _table("three")])
    # had `two` been made, this would be refused
    theirs.commit([_table("two")])


@in_namespace
def test_an_owned_table_is_nobody_elses_and_goes_with_its_socket() -> None:
    ours, theirs = Netfilter(), Netfilter()
    ours.commit([_table("one")])
    with pytest.raises(PermissionError):
        theirs.commit([Message(Do.DELETE_TABLE, 0, text(1, "one"))])
    ours.close()
    with pytest.raises(OSError) as caught:
        theirs.commit([Message(Do.DELETE_TABLE, 0, text(1, "one"))])
    assert caught.value.errno == errno.ENOENT
