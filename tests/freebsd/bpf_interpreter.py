"""Classic BPF as the kernel runs it (bpf_filter(9) with a contiguous packet), and what it refuses to load."""

from __future__ import annotations

from collections.abc import Sequence

from skep_helper.freebsd.network.bpf import LIMIT, Instruction

WORD = 0xFFFFFFFF
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}


def validate(program: Sequence[Instruction]) -> None:
    """What bpf_validate() asks: jumps forward and within the program, known codes, a return at the end."""
    assert 0 < len(program) <= LIMIT
    for at, (code, jt, jf, k) in enumerate(program):
        assert 0 <= jt <= 255, at
        assert 0 <= jf <= 255, at
        assert 0 <= k <= WORD, at
        if code & 7 == 5:
            reach = k if code == 0x05 else max(jt, jf)
            assert at + 1 + reach < len(program), at
        elif code in (0x60, 0x61, 0x02, 0x03):
            assert k < 16, at
    assert program[-1].code & 7 == 6


def run(program: Sequence[Instruction], packet: bytes) -> int:  # noqa: C901 - one branch for each kind of code
    """The bytes of the packet that pass, 0 for none."""
    a = x = at = 0
    memory = [0] * 16
    while True:
        code, jt, jf, k = program[at]
        at += 1
        kind = code & 7
        if kind == 6:
            return k if code == 0x06 else a
        if kind == 5:
            at += k if code == 0x05 else (jt if _holds(code, a, x if code & 8 else k) else jf)
        elif kind == 7:
            a, x = (x, x) if code & 0x80 else (a, a)
        elif kind == 4:
            a = _calculate(code, a, x if code & 8 else k)
        elif kind == 2:
            memory[k] = a
        elif code == 0xB1:
            if k >= len(packet):
                return 0
            x = (packet[k] & 0xF) * 4
        elif code == 0x60:
            a = memory[k]
        elif code == 0x00:
            a = k
        else:
            loaded = _load(code, k + (x if code & 0xE0 == 0x40 else 0), packet)
            if loaded is None:
                return 0
            a = loaded


def _load(code: int, at: int, packet: bytes) -> int | None:
    """A field of the packet; None beyond its end."""
    assert code & 7 == 0, hex(code)
    assert code & 0xE0 in (0x20, 0x40), hex(code)
    size = _SIZES[code & 0x18]
    return int.from_bytes(packet[at : at + size], "big") if at + size <= len(packet) else None


def _holds(code: int, a: int, other: int) -> bool:
    operation = code & 0xF0
    return {0x10: a == other, 0x20: a > other, 0x30: a >= other, 0x40: bool(a & other)}[operation]


def _calculate(code: int, a: int, other: int) -> int:
    operation = code & 0xF0
    return {0x00: a + other, 0x10: a - other, 0x50: a & other, 0x60: a << (other & 31)}[operation] & WORD
