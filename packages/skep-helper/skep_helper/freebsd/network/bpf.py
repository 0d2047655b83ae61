"""An assembler for classic BPF, as ng_bpf(4) runs it: instructions, labels, and conditions with short-circuits.

A program is a list of statements whose jumps name labels. Conditional jumps reach 255 instructions; one that must go
further leads to an unconditional jump put right behind it. Loads beyond the end of a frame drop the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

LIMIT = 512
"""Instructions of a program at most (sysctl net.bpf.maxinsns)."""
WHOLE_FRAME = 262_144

LD_W, LD_H, LD_B = 0x20, 0x28, 0x30
LD_W_X, LD_H_X, LD_B_X = 0x40, 0x48, 0x50
LD_MEMORY, LDX_IHL, STORE = 0x60, 0xB1, 0x02
ADD, SUB, AND, LEFT, ADD_X = 0x04, 0x14, 0x54, 0x64, 0x0C
LD_IMMEDIATE, TO_X, FROM_X = 0x00, 0x07, 0x87
JUMP, EQUAL, GREATER_OR_EQUAL, ANY_BIT, GREATER_OR_EQUAL_X = 0x05, 0x15, 0x35, 0x45, 0x3D
RETURN = 0x06
_NEAR = 255


class Instruction(NamedTuple):
    code: int
    jt: int
    jf: int
    k: int


@dataclass(frozen=True)
class Field:
    """A field of the frame that must have a value. size: 1, 2 or 4 bytes; mask: applied before; indexed: from X on."""

    at: int
    size: int
    value: int
    mask: int = 0xFFFFFFFF
    indexed: bool = False


@dataclass(frozen=True)
class All:
    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Any:
    parts: tuple[Condition, ...]


Condition = Field | All | Any
_LOADS = {(1, False): LD_B, (2, False): LD_H, (4, False): LD_W, (1, True): LD_B_X, (2, True): LD_H_X, (4, True): LD_W_X}


@dataclass(frozen=True)
class _Statement:
    code: int
    k: int = 0
    then: str = ""
    other: str = ""
    label: str = ""


@dataclass
class Program:
    """Statements in order. The labels "accept" and "drop" are at its end, put there by `assemble`."""

    statements: list[_Statement] = field(default_factory=list)
    _serial: int = 0

    def do(self, code: int, k: int = 0) -> None:
        self.statements.append(_Statement(code, k & 0xFFFFFFFF))

    def label(self, name: str) -> None:
        self.statements.append(_Statement(-1, label=name))

    def fresh(self) -> str:
        self._serial += 1
        return f".{self._serial}"

    def jump(self, to: str) -> None:
        self.statements.append(_Statement(JUMP, then=to))

    def branch(self, code: int, k: int, then: str, other: str = "") -> None:
        """Compare A with k (or X) and jump; an empty label is the next statement."""
        following = self.fresh()
        self.statements.append(_Statement(code, k & 0xFFFFFFFF, then or following, other or following))
        self.label(following)

    def choose(self, choices: Iterable[tuple[int, str]], other: str) -> None:
        """Jump by the value of A."""
        for value, then in choices:
            self.branch(EQUAL, value, then)
        self.jump(other)

    def unless(self, condition: Condition, other: str) -> None:
        """Go on when a condition holds, else to a label."""
        following = self.fresh()
        self._condition(condition, following, other)
        self.label(following)

    def decide(self, condition: Condition) -> None:
        """The last of a path: accept or drop (by way of a place nearby, so that few jumps are far)."""
        accepted, dropped = self.fresh(), self.fresh()
        self._condition(condition, accepted, dropped)
        self.label(accepted)
        self.jump("accept")
        self.label(dropped)
        self.jump("drop")

    def _condition(self, condition: Condition, then: str, other: str) -> None:
        if isinstance(condition, Field):
            self._load(condition)
            self.branch(EQUAL, condition.value, then, other)
            return
        everything = isinstance(condition, All)
        loaded: Condition | None = None
        for part in condition.parts:
            following = self.fresh()
            if isinstance(part, Field) and isinstance(loaded, Field) and _same_field(part, loaded):
                self.branch(EQUAL, part.value, following if everything else then, other if everything else following)
            else:
                self._condition(part, following if everything else then, other if everything else following)
            loaded = part
            self.label(following)
        self.jump(then if everything else other)

    def _load(self, test: Field) -> None:
        self.do(_LOADS[test.size, test.indexed], test.at)
        if test.mask != 0xFFFFFFFF:
            self.do(AND, test.mask)


def _same_field(one: Field, other: Field) -> bool:
    return (one.at, one.size, one.mask, one.indexed) == (other.at, other.size, other.mask, other.indexed)


def assemble(program: Program) -> tuple[Instruction, ...]:
    """The instructions of a program; raises ValueError when there are more than the kernel takes."""
    statements = [
        *program.statements,
        _Statement(-1, label="drop"), _Statement(RETURN, 0), _Statement(-1, label="accept"),
        _Statement(RETURN, WHOLE_FRAME),
    ]  # fmt: skip
    statements = _without_useless_jumps(statements)
    far: set[tuple[int, str]] = set()
    while True:
        places = _places(statements, far)
        found = {
            (at, side)
            for at, statement in enumerate(statements)
            if _is_conditional(statement)
            for side in {statement.then, statement.other}
            if (at, side) not in far and places[side] - places[at] - 1 > _NEAR - 2
        }
        if not found:
            break
        far |= found
    instructions = tuple(_encode(statements, places, far))
    if len(instructions) > LIMIT:
        raise ValueError(f"{len(instructions)} instructions, the kernel takes {LIMIT}")
    return instructions


def _without_useless_jumps(statements: Sequence[_Statement]) -> list[_Statement]:
    """Without jumps to what follows anyway."""
    kept: list[_Statement] = []
    for at, statement in enumerate(statements):
        if statement.code == JUMP:
            following = set()
            for later in statements[at + 1 :]:
                if later.code != -1:
                    break
                following.add(later.label)
            if statement.then in following:
                continue
        kept.append(statement)
    return kept


def _is_conditional(statement: _Statement) -> bool:
    return bool(statement.then) and statement.code != JUMP


def _places(statements: Sequence[_Statement], far: set[tuple[int, str]]) -> dict[str | int, int]:
    """Where each statement (by its number) and each label is."""
    places: dict[str | int, int] = {}
    position = 0
    for at, statement in enumerate(statements):
        if statement.code == -1:
            places[statement.label] = position
            continue
        places[at] = position
        position += 1 + sum((at, side) in far for side in {statement.then, statement.other})
    return places


def _encode(
    statements: Sequence[_Statement], places: dict[str | int, int], far: set[tuple[int, str]]
) -> Iterator[Instruction]:
    for at, statement in enumerate(statements):
        if statement.code == -1:
            continue
        here = places[at] + 1
        if statement.code == JUMP:
            yield Instruction(JUMP, 0, 0, places[statement.then] - here)
        elif not statement.then:
            yield Instruction(statement.code, 0, 0, statement.k)
        else:
            bridges = [side for side in (statement.then, statement.other) if (at, side) in far]
            near = [
                bridges.index(side) if side in bridges else places[side] - here
                for side in (statement.then, statement.other)
            ]
            yield Instruction(statement.code, near[0], near[1], statement.k)
            for number, side in enumerate(bridges, 1):
                yield Instruction(JUMP, 0, 0, places[side] - here - number)


def pack(instructions: Iterable[Instruction]) -> bytes:
    """As struct bpf_insn in memory."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
