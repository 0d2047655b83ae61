"""Passwords: scrypt with a salt for each, its cost beside it, so that the cost may rise and old digests still count."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import unicodedata

import msgspec

from .errors import Unfit

SHORTEST, LONGEST = 10, 1024
"""Characters. A sentence is welcome; nothing is asked about digits, signs or capitals."""
AT_ONCE = threading.BoundedSemaphore(2)
"""Digests computed at the same time: each takes 32 MiB and a quarter of a second of a CPU."""


class Cost(msgspec.Struct, frozen=True):
    """Of scrypt: n * r * 128 bytes of memory, p passes."""

    n: int = 1 << 15
    r: int = 8
    p: int = 3


COST = Cost()


class Password(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """salt and digest in hexadecimal."""

    cost: Cost
    salt: str
    digest: str


def hide(password: str) -> Password:
    """What is stored of a password. Raises Unfit for one that is too short or too long."""
    plain = _plain(password)
    if len(plain) < SHORTEST:
        raise Unfit(f"the password has {len(plain)} characters; take at least {SHORTEST}, a sentence is fine")
    if len(plain) > LONGEST:
        raise Unfit(f"the password has {len(plain)} characters; take at most {LONGEST}")
    salt = secrets.token_bytes(16)
    return Password(COST, salt.hex(), _scrypt(plain, salt, COST).hex())


def matches(password: str, stored: Password | None) -> bool:
    """Whether it is the password that is stored. Where none is, the same work is done for nothing, so that the time
    of an answer does not tell which names exist."""
    cost = stored.cost if stored else COST
    salt = bytes.fromhex(stored.salt) if stored else b"nobody has this."
    digest = _scrypt(_plain(password)[:LONGEST], salt, cost)
    return hmac.compare_digest(digest, bytes.fromhex(stored.digest) if stored else bytes(64)) and stored is not None


def _plain(password: str) -> str:
    """One spelling of what looks the same: keyboards differ in how they compose an accent."""
    return unicodedata.normalize("NFC", password)


def _scrypt(plain: str, salt: bytes, cost: Cost) -> bytes:
    with AT_ONCE:
        return hashlib.scrypt(
            plain.encode(errors="surrogatepass"), salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=256 << 20, dklen=64
        )
