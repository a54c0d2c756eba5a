import os

import pytest

from mirrord.cli.dump import Printer


@pytest.mark.parametrize(
    ("terminal", "shown"), [(True, b"GET /\\x1b[2J\n\\xff"), (False, b"GET /\x1b[2J\r\n\xff")]
)
def test_what_clients_send_gives_no_orders_to_a_terminal(
    terminal: bool,
    shown: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: terminal)
    Printer()._write(b"GET /\x1b[2J\r\n\xff", "them")
    assert capfdbinary.readouterr().out == b"\n-- them\n" + shown
