"""Accounts, sessions, lock-out and audit of one host together: who gets in, and what happens when he must go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from skep.wire import Role

from . import passwords
from .audit import Audit
from .endings import Endings
from .errors import Clash, Denied, Forbidden, Unfit
from .lockout import Lockout, Rate
from .passkeys import Page, Passkeys
from .sessions import Session, SessionStore
from .users import User, UserStore

WRONG = "name or password is wrong"
CHANGED = "the account was changed a moment ago; sign in again"
FRESH = 15 * 60.0
"""Seconds after signing in during which a session may add another way to sign in."""


@dataclass(frozen=True)
class Entry:
    """Somebody who got in. secret: what his cookie carries."""

    user: User
    session: Session
    secret: str


class Access:
    """Thread-safe. folder None: all in memory, gone with the process."""

    def __init__(
        self, folder: Path | None = None, page: str = "https://localhost:8443", clock: Callable[[], float] = time.time
    ) -> None:
        """page: where the gateway's pages are, for links. Raises ValueError naming a file that cannot be understood,
        OSError."""
        self._clock = clock
        self._entering = threading.Lock()
        self.page = page.rstrip("/")
        self.endings = Endings()
        self.users = UserStore(folder / "users.json" if folder else None, clock=clock)
        self.sessions = SessionStore(folder / "sessions.sqlite" if folder else None, self.endings, clock)
        self.passkeys = Passkeys(self.users, clock)
        self.audit = Audit(folder / "audit" if folder else None, clock)
        self.lockout = Lockout()
        self.strangers = Rate(burst=60, per_second=2)

    def sign_in(self, name: str, password: str, network: str, peer: str, agent: str) -> Entry:
        """network: what is counted as one peer. Raises LockedOut, Denied."""
        user = self.users.find(name)
        keys = (self._account_key(name, user, peer), f"peer:{network}")
        self.lockout.attempt(keys)
        if not passwords.matches(password, user.password if user else None) or user is None:
            raise Denied(WRONG)
        entry = self.enter(user, peer, agent)
        self.lockout.succeeded(keys)
        return entry

    def set_up(self, secret: str, name: str, password: str, network: str, peer: str, agent: str) -> Entry:
        """Use the one-time link. Raises LockedOut, Denied, Unfit, Clash."""
        keys = (f"peer:{network}",)
        self.lockout.attempt(keys)
        try:
            user = self.users.redeem(secret, name, password)
        except (Unfit, Clash):
            self.lockout.succeeded(keys)  # the secret was right
            raise
        self.lockout.succeeded(keys)
        return self.enter(user, peer, agent)

    def sign_in_by_passkey(
        self, page: Page, credential: Mapping[str, Any], network: str, peer: str, agent: str
    ) -> Entry:
        """No account is held back for this: keys cannot be guessed. Raises LockedOut, Denied, Unfit."""
        keys = (f"peer:{network}",)
        self.lockout.attempt(keys)
        user = self.passkeys.finish_sign_in(page, credential)
        self.lockout.succeeded(keys)
        return self.enter(user, peer, agent)

    def link(self, secret: str) -> str:
        """The address of the page that uses a one-time link: what follows # is sent to no server and into no log."""
        return f"{self.page}/setup#{secret}"

    def enter(self, user: User, peer: str, agent: str) -> Entry:
        """A session for a user as he was when he was checked: what has changed since then was to end it, so it does not
        begin. Raises Denied."""
        with self._entering:
            now = self.users.find(user.name)
            if now is None or (now.id, now.password) != (user.id, user.password):
                raise Denied(CHANGED)
            secret, session = self.sessions.begin(user, peer, agent)
        return Entry(user, session, secret)

    def holder(self, secret: str) -> tuple[User, Session] | None:
        """Whose cookie this is, with the role that he has now."""
        session = self.sessions.check(secret)
        user = self.users.find(session.user) if session else None
        return (user, session) if session and user and user.id == session.owner else None

    def verify(self, user: User, password: str, peer: str) -> None:
        """Whether a user who is in knows his password. Raises LockedOut, Forbidden."""
        keys = (self._account_key(user.name, user, peer),)
        self.lockout.attempt(keys)
        if not passwords.matches(password, user.password):
            raise Forbidden("the old password is wrong")
        self.lockout.succeeded(keys)

    def set_password(self, name: str, password: str, keep: Session | None = None) -> None:
        """A new password ends all sessions of the user but `keep`. Raises Unfit, NoSuchUser."""
        hidden = passwords.hide(password)
        with self._entering:
            user = self.users.change(name, lambda user: msgspec.structs.replace(user, password=hidden))
            ended = [one for one in self.sessions.all(name) if keep is None or one.id != keep.id]
        self.lockout.succeeded((f"user:{user.id}",))
        self.sessions.end(ended, "the password was changed")

    def set_role(self, name: str, role: Role) -> User:
        """It counts from the next request on; what is open is closed. Raises NoSuchUser, Clash."""
        before = self.users.get(name).role
        user = self.users.change(name, lambda user: msgspec.structs.replace(user, role=role))
        if role != before:
            for session in self.sessions.all(name):
                self.endings.end(session.key, f"the role was changed to {role}")
        return user

    def remove(self, name: str) -> None:
        """Raises NoSuchUser, Clash."""
        with self._entering:
            self.users.remove(name)
            ended = self.sessions.all(name)
        self.sessions.end(ended, "the user was deleted")

    def held_back(self, user: User) -> float:
        """Seconds for which an account takes no password from a place that it does not know."""
        return self.lockout.remaining(f"user:{user.id}")

    def require_fresh(self, session: Session) -> None:
        """Raises Forbidden when the session began long ago: who finds a browser open shall not make himself a key."""
        if self._clock() - session.created > FRESH:
            raise Forbidden("this needs a session that has just begun: sign in again")

    def close(self) -> None:
        self.sessions.close()

    def _account_key(self, name: str, user: User | None, peer: str) -> str:
        """What failures of this account are counted for. Where the user is signed in already they are counted apart,
        so that nobody locks him out from elsewhere."""
        if user is None:
            return f"name:{name[:64]}"
        known = any(session.peer == peer for session in self.sessions.all(name))
        return f"user:{user.id}@{peer}" if known else f"user:{user.id}"
