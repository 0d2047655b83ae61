"""Sessions of browsers: a cookie of 256 random bits, of which the digest is kept. In memory, with a copy in SQLite.

The copy may be lost: then one signs in again. What could not be removed from it makes it be thrown away as a whole,
so that an ended session never comes back.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from .endings import Endings
from .users import User

IDLE = 12 * 3600.0
"""Seconds without a request after which a session ends."""
LONGEST = 7 * 86_400.0
"""Seconds after which it ends in any case."""
SEEN_EVERY = 60.0
PER_USER = 50
_TABLE = "CREATE TABLE IF NOT EXISTS session (digest TEXT PRIMARY KEY, body BLOB NOT NULL)"
log = logging.getLogger("skepd.access")


class Session(msgspec.Struct, kw_only=True):
    """digest: of the cookie. owner: the user's id, so that nobody inherits it with the name."""

    id: str
    digest: str
    user: str
    owner: str
    created: float
    seen: float
    peer: str
    agent: str

    @property
    def key(self) -> str:
        return f"session:{self.id}"


class SessionStore:
    """Thread-safe. path None: in memory only."""

    def __init__(
        self, path: Path | None = None, endings: Endings | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._endings = endings or Endings()
        self._file = _File(path)
        self._sessions = {session.digest: session for session in self._file.load()}

    def begin(self, user: User, peer: str, agent: str) -> tuple[str, Session]:
        """A new session and the secret that its cookie carries."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        session = Session(
            id=secrets.token_hex(8), digest=_digest(secret), user=user.name, owner=user.id, created=now, seen=now,
            peer=peer, agent=agent[:200],
        )  # fmt: skip
        own = sorted(self.all(user.name), key=lambda one: one.seen)
        self.end(own[: max(0, len(own) - PER_USER + 1)], "there were too many sessions")
        with self._lock:
            self._sessions[session.digest] = session
            self._file.save(session)
        return secret, session

    def check(self, secret: str) -> Session | None:
        """The session of a cookie, which counts as seen now."""
        now = self._clock()
        with self._lock:
            session = self._sessions.get(_digest(secret))
            if session is None or _expired(session, now):
                return None
            if now - session.seen >= SEEN_EVERY:
                session.seen = now
                self._file.save(session)
            return session

    def all(self, user: str | None = None) -> list[Session]:
        """Those that have not ended, of one user or of all."""
        now = self._clock()
        with self._lock:
            found = [one for one in self._sessions.values() if not _expired(one, now)]
        return [one for one in found if user in (None, one.user)]

    def end(self, sessions: Iterable[Session], reason: str) -> None:
        """From now on their cookies are nobody's, and what was opened by them is closed."""
        for session in sessions:
            with self._lock:
                there = self._sessions.pop(session.digest, None)
                if there is not None:
                    self._file.remove(session)
            if there is not None:
                self._endings.end(session.key, reason)

    def sweep(self) -> None:
        """End what has expired; call it from time to time."""
        now = self._clock()
        with self._lock:
            gone = [one for one in self._sessions.values() if _expired(one, now)]
        self.end(gone, "the session has expired")

    def close(self) -> None:
        self._file.close()


class _File:
    """The copy. An error never gets out: it costs signing in again after the next start."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        if path is not None:
            try:
                self._connection = _open(path)
            except sqlite3.Error as error:
                self._give_up(error)

    def load(self) -> list[Session]:
        if self._connection is None:
            return []
        try:
            rows = self._connection.execute("SELECT body FROM session").fetchall()
            return [msgspec.json.decode(row[0], type=Session) for row in rows]
        except (sqlite3.Error, msgspec.DecodeError) as error:
            self._give_up(error)
            return []

    def save(self, session: Session) -> None:
        self._do("INSERT OR REPLACE INTO session VALUES (?, ?)", (session.digest, msgspec.json.encode(session)))

    def remove(self, session: Session) -> None:
        self._do("DELETE FROM session WHERE digest = ?", (session.digest,))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _do(self, statement: str, values: tuple[object, ...]) -> None:
        if self._connection is None:
            return
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        assert self._path is not None
        log.warning("%s: %s; sessions are kept in memory, the file is removed", self._path, error)
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
        for end in ("", "-wal", "-shm", "-journal"):
            Path(f"{self._path}{end}").unlink(missing_ok=True)


def _open(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600, exist_ok=True)
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute(_TABLE)
    return connection


def _expired(session: Session, now: float) -> bool:
    return now - session.seen > IDLE or now - session.created > LONGEST


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
