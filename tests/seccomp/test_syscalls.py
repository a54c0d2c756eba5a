"""The tables, against the system's own headers."""

import os
import platform
import re
from pathlib import Path

import pytest
from mirrord_seccomp.syscalls import Arch, Kind, UnsupportedArch, current_arch, name, number, table

X86_64_HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
GENERIC_HEADER = Path("/usr/include/asm-generic/unistd.h")

NEWEST = 471
"""The last call of the tables; a newer header has more."""
RENAMED = {"fstatat": "newfstatat"}
NOT_OF_64_BITS = re.compile(r"(sync_file_range2|arch_specific_syscall|syscalls)$")


def numbers_in(header: Path) -> dict[str, int]:
    if not header.exists():
        missing = f"no {header} (package linux-libc-dev)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    return {RENAMED.get(name, name): int(number) for name, number in found if int(number) <= NEWEST}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have no such header")
def test_x86_64_numbers_are_the_kernels() -> None:
    expected = numbers_in(X86_64_HEADER)
    assert expected.items() <= {call.name: call.number for call in table(Arch.X86_64).values()}.items()
    newest = max(expected.values())
    assert {n for n, call in table(Arch.X86_64).items() if call.number <= newest} - set(expected) <= {
        "uretprobe",
        "uprobe",
    }


def test_aarch64_numbers_are_the_generic_ones() -> None:
    found = numbers_in(GENERIC_HEADER)
    # 403 to 423 are the calls with 64-bit times that only 32-bit machines need.
    expected = {
        name: number
        for name, number in found.items()
        if not 403 <= number <= 423 and not NOT_OF_64_BITS.match(name)
    }
    numbers = {call.name: call.number for call in table(Arch.AARCH64).values()}
    assert expected.items() <= numbers.items()
    newest = max(expected.values())
    assert {n for n in numbers if numbers[n] <= newest} == set(expected)


@pytest.mark.parametrize("arch", Arch)
def test_the_table_goes_both_ways(arch: Arch) -> None:
    calls = table(arch)
    assert [call.number for call in calls.values()] == sorted({call.number for call in calls.values()})
    for key, call in calls.items():
        assert key == call.name
        assert number(key, arch) == call.number
        assert name(call.number, arch) == key


def test_known_numbers() -> None:
    assert [number("openat", arch) for arch in Arch] == [257, 56]
    assert [number("open", arch) for arch in Arch] == [2, None]
    assert [number("seccomp", arch) for arch in Arch] == [317, 277]
    assert [number("openat2", arch) for arch in Arch] == [437, 437]
    assert [number("rseq_slice_yield", arch) for arch in Arch] == [471, 471]
    assert [name(257, arch) for arch in Arch] == ["openat", None]
    assert number("opennat", Arch.X86_64) is None


@pytest.mark.parametrize("arch", Arch)
def test_arguments_have_names_of_their_own(arch: Arch) -> None:
    for call in table(arch).values():
        names = [arg.name for arg in call.args]
        assert len(names) == len(set(names)) <= 6, call


def test_arguments_are_what_the_manual_says() -> None:
    openat = table(Arch.X86_64)["openat"]
    assert [(arg.name, arg.kind) for arg in openat.args] == [
        ("dirfd", Kind.DIRFD),
        ("pathname", Kind.PATH),
        ("flags", Kind.FLAGS),
        ("mode", Kind.MODE),
    ]
    assert [arg.kind for arg in table(Arch.AARCH64)["connect"].args] == [Kind.FD, Kind.SOCKADDR, Kind.SIZE]


def test_clone_takes_its_arguments_in_another_order_on_aarch64() -> None:
    orders = [[arg.name for arg in table(arch)["clone"].args[3:]] for arch in Arch]
    assert orders == [["child_tid", "tls"], ["tls", "child_tid"]]


@pytest.mark.parametrize("arch", Arch)
def test_a_path_has_a_directory_before_it_in_every_at_call(arch: Arch) -> None:
    for call in table(arch).values():
        for before, arg in zip(call.args, call.args[1:], strict=False):
            if before.kind is Kind.DIRFD:
                assert arg.kind is Kind.PATH, call


def test_audit_numbers() -> None:
    assert [arch.audit for arch in Arch] == [0xC000003E, 0xC00000B7]


def test_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.uname_result(("Linux", "host", "6.1", "#1", "riscv64"))
    monkeypatch.setattr(os, "uname", lambda: other)
    with pytest.raises(UnsupportedArch, match="riscv64"):
        current_arch.__wrapped__()
