from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.config import paths
from mirrord.config.features import Fs
from mirrord.config.paths import PathRules, Side, normalise

HOME = b"/home/ada"
CWD = b"/srv/project"


def rules(*, aws: bool = True, **fs: Any) -> PathRules:
    settings = Fs.model_validate(fs)
    return PathRules(settings, cwd=CWD, home=HOME, executable=b"/data/bin/server", aws=aws)


def side(path: bytes, *, write: bool = False, **fs: Any) -> Side:
    return rules(**fs).decide(path, write=write).side


@pytest.mark.parametrize(
    ("mode", "read", "write"),
    [
        ("read", Side.REMOTE, Side.LOCAL),
        ("write", Side.REMOTE_READ_WRITE, Side.REMOTE_READ_WRITE),
        ("localwithoverrides", Side.LOCAL, Side.LOCAL),
        ("local", Side.LOCAL, Side.LOCAL),
    ],
)
def test_the_mode_decides_last(mode: str, read: Side, write: Side) -> None:
    assert side(b"/app/x", mode=mode) is read
    assert side(b"/app/x", mode=mode, write=True) is write


LISTS = ["not_found", "read_write", "read_only", "local"]
SIDES = [Side.NOT_FOUND, Side.REMOTE_READ_WRITE, Side.REMOTE, Side.LOCAL]


@pytest.mark.parametrize("first", range(4))
def test_the_lists_are_asked_in_order(first: int) -> None:
    given_lists: dict[str, Any] = {name: ["^/app"] for name in LISTS[first:]}
    decision = rules(**given_lists, mode="localwithoverrides").decide(b"/app/x", write=False)
    assert decision.side is SIDES[first]
    assert decision.rule == f"`feature.fs.{LISTS[first]}` has `^/app`"


def test_the_lists_come_before_what_is_built_in() -> None:
    assert side(b"/usr/share/x", read_only="^/usr/share") is Side.REMOTE
    assert side(HOME + b"/.kube/config", local=r"\.kube") is Side.LOCAL
    assert side(b"/etc/hosts", not_found="hosts$") is Side.NOT_FOUND


def test_a_read_only_path_is_written_locally() -> None:
    assert side(b"/app/x", read_only="^/app", write=True, mode="write") is Side.LOCAL


def test_local_mode_looks_at_nothing() -> None:
    local = rules(mode="local", not_found=".", mapping={"^/a": "/b"})
    assert not local.active
    assert local.decide(b"/etc/resolv.conf", write=False).side is Side.LOCAL
    assert local.decide(b"/a", write=False).path == b"/a"


def test_user_patterns_are_case_insensitive_searches() -> None:
    assert side(b"/app/Secret.TXT", not_found="secret") is Side.NOT_FOUND
    assert side("/app/Ü".encode(), not_found="ü") is Side.NOT_FOUND


def test_a_path_that_is_not_utf8_is_matched_and_kept() -> None:
    decision = rules(read_only="^/data", mapping={"^/old": "/data"}).decide(b"/old/\xff\xfe", write=False)
    assert decision.path == b"/data/\xff\xfe"
    assert decision.side is Side.REMOTE


def test_mapping_comes_first_and_once() -> None:
    mapped = rules(mapping={"^/a/(.*)": "/b/$1", "^/b": "/c"}, local="^/b")
    decision = mapped.decide(b"/a/x", write=False)
    assert decision.path == b"/b/x"
    assert decision.side is Side.LOCAL
    assert mapped.decide(b"/b/x", write=False).path == b"/c/x"


def test_the_path_is_normalised_before_and_after_mapping() -> None:
    assert rules(mapping={"^/a": "/b/.."}).decide(b"//x/.././a//y", write=False).path == b"/y"


def test_the_developers_aws_files_are_put_out_of_sight_unless_told_otherwise() -> None:
    assert rules().decide(HOME + b"/.aws/config", write=False).path == b"/tmp/.aws/config"
    assert rules(aws=False).decide(HOME + b"/.aws/config", write=False).path == HOME + b"/.aws/config"


def test_why_is_a_sentence() -> None:
    explained = rules(mapping={"^/old": "/new"}).why(b"/old/x", write=False)
    assert explained.startswith("/old/x, mapped to /new/x is remote, read only: no rule names it")


def test_a_path_seen_before_is_not_judged_again() -> None:
    known = rules()
    assert known.decide(b"/app/x", write=False) is known.decide(b"/app/x", write=False)
    assert known.decide(b"/app/x", write=False) is not known.decide(b"/app/x", write=True)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MEMO_LIMIT", 10)
    small = rules()
    for number in range(1000):
        small.decide(b"/app/%d" % number, write=False)
    assert len(small._reads) <= 10


segments = st.lists(
    st.sampled_from([b"a", b"B", b"..", b".", b"", b"\xff", b".x", b"etc", b"hosts"]), max_size=8
)
absolute = segments.map(lambda parts: b"/" + b"/".join(parts))


@given(absolute)
def test_normalising_is_idempotent_and_leaves_nothing_to_resolve(path: bytes) -> None:
    normal = normalise(path)
    assert normalise(normal) == normal
    assert normal.startswith(b"/")
    assert not {b".", b".."} & set(normal.split(b"/"))
    assert b"//" not in normal


@given(absolute, st.booleans(), st.sampled_from(["read", "write", "local", "localwithoverrides"]))
def test_spelling_does_not_change_the_decision(path: bytes, write: bool, mode: str) -> None:
    some = rules(mode=mode, read_only="x", not_found="B")
    decision, normal = (some.decide(one, write=write) for one in (path, normalise(path)))
    assert (decision.side, decision.rule, decision.path) == (normal.side, normal.rule, normal.path)


@pytest.mark.parametrize(
    ("path", "use", "as_asked"),
    [
        (b"/app/link/../x", b"/app/link/../x", True),
        (b"/app//x/", b"/app//x/", True),
        (b"/app/..data/x", b"/app/..data/x", True),
        (b"/usr/../app/x/", b"/app/x/", False),
        (b"/app/../usr/x", b"/usr/x", False),
        (b"/usr/lib/../x", b"/usr/lib/../x", True),
    ],
)
def test_a_path_goes_to_its_side_as_it_was_asked_unless_it_crosses(
    path: bytes, use: bytes, as_asked: bool
) -> None:
    decision = rules().decide(path, write=False)
    assert (decision.use, decision.as_asked) == (use, as_asked)


def test_what_is_in_the_sessions_tree_stands_for_the_target() -> None:
    some = PathRules(Fs(), cwd=b"/home/me", home=None, tree=b"/run/user/1/fs")
    for write in (False, True):
        decision = some.decide(b"/run/user/1/fs/app/x", write=write)
        assert (decision.side, decision.use) == (Side.REMOTE, b"/app/x")
    assert some.decide(b"/run/user/1/fs", write=False).use == b"/"
    assert some.decide(b"/run/user/1/fs2/app/x", write=False).side is Side.LOCAL


@pytest.mark.parametrize(
    ("path", "magic"),
    [
        (b"/proc/self/fd/5", True),
        (b"/proc/123/task/4/cwd/x", True),
        (b"//proc//thread-self/fd/5/x", True),
        (b"/dev/stdin", True),
        (b"/dev/fd/3", True),
        (b"/proc/self/fd", False),
        (b"/proc/self/fd/5x", False),
        (b"/proc/self/root/x", False),
    ],
)
def test_links_to_what_a_process_has_open_are_marked(path: bytes, magic: bool) -> None:
    assert rules().decide(path, write=False).magic is magic


def test_what_is_in_a_directory_of_path_is_local() -> None:
    some = PathRules(Fs(), cwd=b"/home/me", home=None, search=[b"/srv/bin", b"", b".", b"/"])
    sides = [
        some.decide(path, write=False).side
        for path in (b"/srv/bin", b"/srv/bin/tool", b"/srv/bin/a/b", b"/x")
    ]
    assert sides == [Side.LOCAL, Side.LOCAL, Side.REMOTE, Side.REMOTE]


def test_secrets_are_the_pods_by_both_of_their_paths() -> None:
    for path in (b"/run/secrets/token", b"/var/run/secrets/token"):
        assert rules().decide(path, write=False).side is Side.REMOTE
    assert rules().decide(b"/run/secretsx", write=False).side is Side.LOCAL


@given(absolute, st.sampled_from(["read", "localwithoverrides"]))
def test_writing_is_never_more_remote_than_the_user_allowed(path: bytes, mode: str) -> None:
    assert rules(mode=mode).decide(path, write=True).side in (Side.LOCAL, Side.NOT_FOUND)
