"""``mirrord doctor`` with a target, and on machines that lack something: sessions then do as it says."""

import errno
import json
from typing import Final

import pytest

from ..support.build import command
from ..support.lacking import Lack
from ..support.running import Runner
from ..support.sandboxes import Sandbox
from ..support.user import User


@pytest.mark.both_users
def test_a_target_is_tried(runner: Runner, sandbox: Sandbox, user: User) -> None:
    done = runner.run([user.mirrord, "doctor", "--json", "-t", sandbox.target])

    assert done.code == 0, done
    findings = {one["subject"]: one for one in json.loads(done.out)}
    assert sandbox.hostname in findings["an agent there (admission, image)"]["found"]
    assert findings["the link to it"]["found"].endswith(" ms for a round trip")
    assert {findings[f"incoming traffic: {way}"]["outcome"] for way in ("mirror", "steal")} == {"works"}


def test_a_target_that_is_not_there(runner: Runner, sandbox: Sandbox, user: User) -> None:
    done = runner.run([user.mirrord, "doctor", "-t", "sandbox/nowhere"])

    assert done.code == 1
    assert "x the target" in done.out
    assert "nowhere" in done.out


_ADDFD: Final = 0x40182103
_SYNC_WAKE_UP: Final = 0x40082104
_TSYNC, _KILLABLE = 16, 32
_SO_BINDTODEVICE: Final = 25
LACKS: Final = {
    "nothing": Lack(errno.EPERM, "nfsservctl"),
    "tracing": Lack(errno.EPERM, "ptrace"),
    "filters": Lack(errno.EPERM, "seccomp"),
    "another's descriptors": Lack(errno.EPERM, "pidfd_getfd"),
    "traps of its own": Lack(None, "nfsservctl"),
    "traps that signals leave alone": Lack(errno.EINVAL, "seccomp", ((1, "any of", _KILLABLE),)),
    "quick traps": Lack(errno.EINVAL, "ioctl", ((1, "==", _SYNC_WAKE_UP),)),
    "given descriptors": Lack(errno.EINVAL, "ioctl", ((1, "==", _ADDFD),)),
    "filters for all threads": Lack(errno.EINVAL, "seccomp", ((1, "any of", _TSYNC),)),
    "pending connects": Lack(errno.EPERM, "setsockopt", ((2, "==", _SO_BINDTODEVICE),)),
    "IPv6": Lack(errno.EAFNOSUPPORT, "socket", ((0, "==", 10),)),
    "sock_diag": Lack(errno.EINVAL, "socket", ((0, "==", 16), (2, "==", 4))),
    "user namespaces": Lack(errno.EPERM, "unshare"),
}


@pytest.mark.both_users
@pytest.mark.sample("ordinary|current-(tracing|given|pending)")
@pytest.mark.parametrize("lack", LACKS)
def test_sessions_do_as_it_says(runner: Runner, sandbox: Sandbox, user: User, lack: str) -> None:
    doctor = runner.run(LACKS[lack].around(user, user.mirrord, "doctor", "--json"))
    found = {one["subject"].partition(" (")[0]: one for one in json.loads(doctor.out)}
    launch, own_sandbox = found["launching a program"], found["the sandbox"]
    program = [user.mirrord, "exec", "-v", "-t", sandbox.target, "--", *command("identity-go")]

    session = runner.run(LACKS[lack].around(user, *program))

    lacking = {name for name, one in found.items() if one["outcome"] != "works"}
    assert bool(lacking) == (lack != "nothing")
    assert doctor.code == (launch["outcome"] == "fails")
    if launch["outcome"] == "fails":
        assert session.code == 125
        assert launch["found"] in session.err
    else:
        traced = "by the engine ptrace" in launch["found"]
        assert f"engine: {'ptrace' if traced else 'notify'}" in session.err
        assert session.lines[:4] == [
            f"greeting={sandbox.greeting}",
            f"hostname={sandbox.hostname}",
            f"config={sandbox.config}",
            "echo=10.96.0.20",
        ]
    if own_sandbox["outcome"] != "works":
        refused = runner.run(LACKS[lack].around(user, user.mirrord, "exec", "-t", "sandbox", "--", "true"))
        assert refused.code == 125
        assert own_sandbox["found"] in refused.err
