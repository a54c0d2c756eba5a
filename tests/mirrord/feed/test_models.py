from pathlib import Path

import pytest

from mirrord.config.load import resolve
from mirrord.config.options import ExecOptions
from mirrord.feed.models import Rules


@pytest.mark.parametrize("path", [b"/app/config", b"/etc/passwd", b"/var/run/secrets/x", b"/usr/bin/env"])
def test_rules_that_went_over_the_socket_decide_as_before(path: bytes, tmp_path: Path) -> None:
    config = tmp_path / "mirrord.json"
    config.write_text(
        '{"target": "sandbox", "feature": {"env": {"override": {"SECRET": "word"}},'
        ' "network": {"outgoing": {"filter": {"remote": ["10.0.0.0/8", "tcp://web:80"]}}}}}'
    )
    settings = resolve(ExecOptions(program=("/bin/true",), config_file=str(config)), {}, cwd=tmp_path)
    rules = Rules.of(settings, ["/bin/true"], search=["default.svc"])

    text = rules.model_dump_json()
    again = Rules.model_validate_json(text)

    assert "word" not in text
    assert again == rules
    assert again.paths().why(path, write=False) == rules.paths().why(path, write=False)
    outgoing = again.outgoing()
    assert outgoing.decide("tcp", "10.1.1.1", 9)
    assert outgoing.why("tcp", "10.1.1.1", 9) == "`feature.network.outgoing.filter.remote` has `10.0.0.0/8`"
    assert outgoing.why("tcp", "11.1.1.1", 80, ["web.default.svc"]).endswith("has `tcp://web:80`")
    assert "nothing in" in outgoing.why("udp", "11.1.1.1", 9)
    assert again.dns().enabled
