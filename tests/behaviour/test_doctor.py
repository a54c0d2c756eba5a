"""``mirrord doctor`` with a target."""

import json

import pytest

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
