from pathlib import Path

import pytest

from mirrord.config.template import git_branch, is_template, render
from mirrord.errors import UsageError


def rendered(text: str, cwd: Path = Path("/"), **environ: str) -> str:
    return render(text, where="m.json", key="abc", environ=environ, cwd=cwd)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ key }}", "abc"),
        ('{{ get_env(name="X") }}', "1"),
        ('{{ get_env(name="Y", default="none") }}', "none"),
        ('{{ git_branch | default(value="main") }}', "main"),
        ('{% if get_env(name="X") == "1" %}a{% else %}b{% endif %}\n', "a\n"),
        ('{{ "a b" | replace(from=" ", to="-") }}', "a-b"),
        ('{{ "Feature/A b" | slugify }}', "feature-a-b"),
        ('{{ "abcdef" | truncate(length=3, end="") }}', "abc"),
        ('{{ "a,b" | split(pat=",") | join(sep="+") }}', "a+b"),
        ('{{ "a,b" | split(pat=",") | nth(n=1) }}', "b"),
        ('{{ "v1" | trim_start_matches(pat="v") }}', "1"),
        ('{% if key is starting_with("a") %}y{% endif %}', "y"),
        ("{# comment #}x", "x"),
    ],
)
def test_rendering(text: str, result: str) -> None:
    assert rendered(text, X="1") == result


def test_the_branch_can_be_given() -> None:
    assert rendered("{{ git_branch }}", MIRRORD_BRANCH_NAME="topic") == "topic"


@pytest.mark.parametrize(
    "text",
    [
        "{{ missing }}",
        '{{ get_env(name="X") }}',
        "{{ key",
        "{{ 1 / 0 }}",
        "{{ key.__class__.__mro__ }}",
        "{{ key | no }}",
    ],
)
def test_what_cannot_be_rendered_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"the template m\.json.* cannot be rendered"):
        rendered(text)


def test_most_files_are_no_templates() -> None:
    assert not is_template('{"feature": {"env": {}}}')
    assert is_template("{{ key }}")


def test_the_branch_is_read_from_the_repository(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/topic/x\n")
    assert git_branch(inner) == "topic/x"
    (tmp_path / ".git" / "HEAD").write_text("3461a50\n")
    assert git_branch(inner) is None


def test_the_branch_of_a_linked_work_tree(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "HEAD").write_text("ref: refs/heads/linked\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text("gitdir: ../real\n")
    assert git_branch(tmp_path / "tree") == "linked"
