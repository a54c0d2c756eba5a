from hypothesis import given
from hypothesis import strategies as st
from mirrord_seccomp.rules import Action, Op, Rule, Test

from mirrord.session.doors import decode, encode

TESTS = st.builds(
    Test,
    st.integers(0, 5),
    st.sampled_from(Op),
    st.integers(-(2**31), 2**32 - 1),
    st.sampled_from([32, 64]),
    mask=st.integers(-(2**31), 2**32 - 1),
)
RULES = st.builds(
    lambda name, action, tests: Rule(name, action, *tests),
    st.sampled_from(["openat", "connect", "uname"]),
    st.sampled_from([Action.NOTIFY, Action.ALLOW, Action.ERRNO(38)]),
    st.lists(TESTS, max_size=3),
)


@given(st.dictionaries(st.integers(0, 500), st.lists(RULES, max_size=3).map(tuple), max_size=5))
def test_rules_are_the_same_after(rules: dict[int, tuple[Rule, ...]]) -> None:
    assert decode(encode(rules)) == rules
