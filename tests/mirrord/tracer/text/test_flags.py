import os

import pytest

from mirrord.tracer.text.flags import MESSAGE, access_mode, bits, mode, open_flags, statx_flags


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0, "O_RDONLY"),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "O_WRONLY|O_CREAT|O_TRUNC"),
        (os.O_RDWR | os.O_SYNC, "O_RDWR|O_SYNC"),
        (os.O_RDWR | os.O_TMPFILE, "O_RDWR|O_TMPFILE"),
        (os.O_DIRECTORY | os.O_CLOEXEC, "O_RDONLY|O_CLOEXEC|O_DIRECTORY"),
        (1 << 30, "O_RDONLY|0x40000000"),
    ],
)
def test_flags_of_an_open(flags: int, text: str) -> None:
    assert open_flags(flags) == text


def test_other_flags() -> None:
    assert access_mode(0) == "F_OK"
    assert access_mode(7) == "R_OK|W_OK|X_OK"
    assert bits(0x4040, MESSAGE) == "MSG_DONTWAIT|MSG_NOSIGNAL"
    assert bits(0, MESSAGE) == "0"
    assert statx_flags(0x900) == "AT_STATX_SYNC_AS_STAT|AT_SYMLINK_NOFOLLOW|AT_NO_AUTOMOUNT"
    assert mode(0o644) == "0644"
    assert mode(0) == "000"
