from pathlib import Path

import pytest

from mirrord.config import files
from mirrord.errors import UsageError


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("m.json", '{"target": "sandbox", "feature": {"env": false}}'),
        ("m", '{"target": "sandbox", "feature": {"env": false}}'),
        ("-", '{"target": "sandbox", "feature": {"env": false}}'),
        ("m.toml", 'target = "sandbox"\n[feature]\nenv = false\n'),
        ("m.yaml", "target: sandbox\nfeature:\n  env: off\n"),
        ("m.YML", "target: sandbox\nfeature: {env: false}\n"),
    ],
)
def test_formats(path: str, text: str) -> None:
    assert files.parse(text, path=path) == {"target": "sandbox", "feature": {"env": False}}


@pytest.mark.parametrize("path", ["m.json", "m.toml", "m.yaml", "-"])
def test_an_empty_file_holds_nothing(path: str) -> None:
    assert files.parse("\n", path=path) == {}


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("m.json", "{", r"in m\.json is malformed"),
        ("-", "{", "in standard input is malformed"),
        ("m.json", "[" * 100_000, r"in m\.json is malformed"),
        ("m.json", r'{"key": "\ud800"}', "has half of a character"),
        ("m.toml", "a = ", r"in m\.toml is malformed"),
        ("m.yaml", "a: [", r"in m\.yaml is malformed"),
        ("m.yaml", "- a", "does not hold an object"),
        ("m.json", "3", "does not hold an object"),
        ("m.ini", "a", "is of no known kind"),
    ],
)
def test_malformed_files(path: str, text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        files.parse(text, path=path)


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not UTF-8"):
        files.read("a.json", cwd=tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        files.read("b.json", cwd=tmp_path)


@pytest.mark.parametrize(
    ("path", "text", "key"),
    [
        ("m.json", '{"a": "{{ key }}", "key": "k1"}', "k1"),
        ("m.json", '{% if true %}{"key": "k1"}{% endif %}', None),
        ("m.json", '{\n "key": "k1",\n {% if true %}"a": 1{% endif %}}', "k1"),
        ("m.yaml", "key: k1\na: '{{ key }}'", "k1"),
        ("m.json", '{"key": "{{ x }}"}', None),
        ("m.json", '{"a": {"key": "k2"}}', None),
    ],
)
def test_the_key_is_seen_before_rendering(path: str, text: str, key: str | None) -> None:
    assert files.peek_key(text, path=path) == key
