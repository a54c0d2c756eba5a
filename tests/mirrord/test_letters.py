import codecs

from mirrord.letters import in_ascii, instead


def test_as_much_room_is_taken() -> None:
    assert in_ascii("╭─ ▶ 名 ▂█ 5 µs …") == "+- > ?? :# 5 us ~"


def test_only_what_an_encoding_has_not_is_replaced() -> None:
    codecs.register_error("letters", instead)
    assert "✓ é – µ".encode("latin-1", "letters") == "+ é - µ".encode("latin-1")
