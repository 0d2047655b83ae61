"""DES as VNC's authentication uses it (RFC 6143, 7.2.2): the key is the password, each byte's bits reversed.

It protects nothing today; bhyve's screen knows nothing better, and stands in a network stack of its own anyway. Not in
Python's library, hence here: FIPS 46-3, bits counted from the most significant one, from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_INITIAL = tuple(first - 8 * row for first in (58, 60, 62, 64, 57, 59, 61, 63) for row in range(8))
_FINAL = tuple(_INITIAL.index(position) + 1 for position in range(1, 65))
_EXPANSION = tuple((4 * row + column - 1) % 32 + 1 for row in range(8) for column in range(6))
_PERMUTATION = (
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
    2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
)  # fmt: skip
_CHOICE_1 = (
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
)  # fmt: skip
_CHOICE_2 = (
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
)  # fmt: skip
_SHIFTS = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)
# Each box: four rows of sixteen, as hexadecimal digits.
_BOXES = (
    "e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
    "f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
    "a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
    "7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
    "2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
    "c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
    "4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
    "d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
)


def respond(password: bytes, challenge: bytes) -> bytes:
    """The answer to a challenge of VNC's authentication; only the first 8 bytes of the password count."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password[:8].ljust(8, b"\0"))
    return b"".join(encrypt(key, challenge[start : start + 8]) for start in range(0, len(challenge), 8))


def encrypt(key: bytes, block: bytes) -> bytes:
    """One block of 8 bytes."""
    left, right = _halves(_select(int.from_bytes(block, "big"), 64, _INITIAL), 32)
    for round_key in _round_keys(key):
        left, right = right, left ^ _mangle(right, round_key)
    return _select(right << 32 | left, 64, _FINAL).to_bytes(8, "big")


def _round_keys(key: bytes) -> Iterator[int]:
    left, right = _halves(_select(int.from_bytes(key, "big"), 64, _CHOICE_1), 28)
    for shift in _SHIFTS:
        left, right = _rotate(left, shift), _rotate(right, shift)
        yield _select(left << 28 | right, 56, _CHOICE_2)


def _mangle(half: int, round_key: int) -> int:
    mixed = _select(half, 32, _EXPANSION) ^ round_key
    out = 0
    for number, box in enumerate(_BOXES):
        six = mixed >> (42 - 6 * number) & 63
        row, column = six >> 4 & 2 | six & 1, six >> 1 & 15
        out = out << 4 | int(box[16 * row + column], 16)
    return _select(out, 32, _PERMUTATION)


def _select(value: int, width: int, positions: Sequence[int]) -> int:
    out = 0
    for position in positions:
        out = out << 1 | value >> (width - position) & 1
    return out


def _halves(value: int, width: int) -> tuple[int, int]:
    return value >> width, value & (1 << width) - 1


def _rotate(value: int, shift: int) -> int:
    return (value << shift | value >> (28 - shift)) & (1 << 28) - 1
