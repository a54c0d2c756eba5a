from mirrord_seccomp.syscalls import Kind, current_arch, table

from mirrord.tracer.text.arguments import show
from mirrord.tracer.text.prototypes import prototype


def test_every_call_has_arguments_that_can_be_shown() -> None:
    for call in table(current_arch()).values():
        known = prototype(call.number)
        assert known.name == call.name
        assert [argument.name for argument in known.arguments] == [argument.name for argument in call.args]
        assert all(callable(show(known.name, argument)) for argument in known.arguments)


def test_types_come_from_python_ptrace_and_kinds_from_our_tables() -> None:
    openat = prototype(table(current_arch())["openat"].number)
    assert (openat.arguments[1].type, openat.arguments[1].kind) == ("const char *", Kind.PATH)
    assert openat.paths == (1,)


def test_an_unknown_number_has_a_name() -> None:
    assert prototype(9999).name == "syscall_0x270f"
