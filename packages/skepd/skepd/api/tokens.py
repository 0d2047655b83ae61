"""API tokens in a file of their own: only their digests, so that the file gives nobody access.

A token reads skep-ID-SECRET; SECRET is 256 random bits, so one round of SHA-256 is enough to store it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from pathlib import Path

import msgspec
from skep.wire import CreatedToken, Role, Token

from skepd.files import DiskFiles, Files, replace

PREFIX = "skep-"


class StoredToken(Token, kw_only=True, forbid_unknown_fields=True):
    digest: str


class TokenStore:
    """Create, list, revoke and check tokens. Thread-safe. One process writes the file."""

    def __init__(self, path: Path, files: Files | None = None) -> None:
        """Raises ValueError naming the file if it cannot be understood, OSError if it cannot be read."""
        self._path = path
        self._files = files or DiskFiles()
        self._lock = threading.Lock()
        self._tokens = {token.id: token for token in self._load()}

    def create(self, name: str, role: Role) -> CreatedToken:
        """A new token; its secret is in the answer and nowhere else."""
        identity, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        stored = StoredToken(id=identity, name=name, role=role, created=time.time(), digest=_digest(secret))
        with self._lock:
            self._save({**self._tokens, identity: stored})
        whole = f"{PREFIX}{identity}-{secret}"
        return CreatedToken(id=identity, name=name, role=role, created=stored.created, secret=whole)

    def all(self) -> list[Token]:
        with self._lock:
            known = sorted(self._tokens.values(), key=lambda token: token.created)
        return [Token(id=token.id, name=token.name, role=token.role, created=token.created) for token in known]

    def revoke(self, identity: str) -> bool:
        """Whether there was such a token; from now on it is refused."""
        with self._lock:
            if identity not in self._tokens:
                return False
            self._save({key: token for key, token in self._tokens.items() if key != identity})
        return True

    def check(self, presented: str) -> Token | None:
        """The token that was presented, if it is one of ours."""
        identity, _, secret = presented.removeprefix(PREFIX).partition("-")
        stored = self._tokens.get(identity)
        expected = stored.digest if stored else _digest("")
        matches = hmac.compare_digest(_digest(secret), expected)
        return stored if matches and stored and presented.startswith(PREFIX) else None

    def _load(self) -> list[StoredToken]:
        try:
            return msgspec.json.decode(self._files.read(self._path), type=list[StoredToken])
        except FileNotFoundError:
            return []
        except msgspec.DecodeError as error:
            raise ValueError(f"{self._path}: not a file of tokens: {error}") from None

    def _save(self, tokens: dict[str, StoredToken]) -> None:
        replace(self._files, self._path, msgspec.json.format(msgspec.json.encode(list(tokens.values()))))
        self._tokens = tokens


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
