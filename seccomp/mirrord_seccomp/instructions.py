"""The classic BPF instructions that a filter is made of, and their text.

Source: ``include/uapi/linux/{filter,bpf_common}.h``, and ``struct seccomp_data`` in
``include/uapi/linux/seccomp.h``.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

from mirrord_seccomp.rules import Action

INSTRUCTION: Final = Struct("<HBBI")
"""``struct sock_filter``: code, instructions to skip when true, when false, and the constant k."""

NR: Final = 0
ARCH: Final = 4
IP: Final = 8
ARGS: Final = 16
"""Offsets in ``struct seccomp_data``; the six arguments have 8 bytes each, the low half first."""


class Code(IntEnum):
    """An instruction; A is the accumulator, of 32 bits."""

    LOAD = 0x20
    """A = word at offset k of ``struct seccomp_data`` (BPF_LD | BPF_W | BPF_ABS)."""
    AND = 0x54
    JUMP = 0x05
    """Skip k instructions."""
    IF_EQ = 0x15
    IF_GT = 0x25
    IF_GE = 0x35
    IF_BITS = 0x45
    """Whether A & k is not 0 (BPF_JSET)."""
    RETURN = 0x06


_SIGNS: Final = {Code.IF_EQ: "==", Code.IF_GT: ">", Code.IF_GE: ">=", Code.IF_BITS: "&"}


def disassemble(program: bytes) -> str:
    """Return one line for each instruction, with absolute targets.

    Raise ValueError for bytes that are not made of these instructions.
    """
    if len(program) % INSTRUCTION.size:
        raise ValueError(f"{len(program)} bytes are not a whole number of instructions")
    fields = enumerate(INSTRUCTION.iter_unpack(program))
    return "".join(f"{at:04} {_text(at, code, yes, no, k)}\n" for at, (code, yes, no, k) in fields)


def _text(at: int, code: int, yes: int, no: int, k: int) -> str:
    following = at + 1
    match code:
        case Code.LOAD:
            return f"load {_place(k)}"
        case Code.AND:
            return f"and {k:#x}"
        case Code.JUMP:
            return f"goto {following + k:04}"
        case Code.RETURN:
            return f"return {Action(k)}"
        case Code.IF_EQ | Code.IF_GT | Code.IF_GE | Code.IF_BITS:
            return f"if {_SIGNS[Code(code)]} {k:#x} goto {following + yes:04} else {following + no:04}"
    raise ValueError(f"instruction {at} has the unknown code {code:#04x}")


def _place(offset: int) -> str:
    half = "high" if offset % 8 else "low"
    if offset in (NR, ARCH):
        return "nr" if offset == NR else "arch"
    return f"args[{(offset - ARGS) // 8}].{half}" if offset >= ARGS else f"ip.{half}"
