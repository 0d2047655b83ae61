"""Accounts and the one-time link in one file, so that a link is used up in the same write that makes its account.

The file holds digests only: of passwords (scrypt) and of the link's secret (SHA-256 of 256 random bits).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from skep.wire import Role

from skepd.files import DiskFiles, Files, replace

from . import passwords
from .errors import Clash, Denied, NoSuchUser, Unfit
from .passwords import Password

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
RESERVED = frozenset({"me"})
LINK_LIFE = 3600.0
MOST = 1000


class Passkey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A WebAuthn credential. id, data: base64url; place: the page's host that it belongs to; count: of its uses, as
    the authenticator told them."""

    id: str
    name: str
    data: str
    place: str
    created: float
    used: float = 0.0
    count: int = 0


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """id: never given to another one, also when the name comes back."""

    name: str
    id: str
    role: Role
    created: float
    password: Password | None = None
    passkeys: tuple[Passkey, ...] = ()


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str
    expires: float


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    users: list[User] = []
    link: Link | None = None


class UserStore:
    """Thread-safe. One process writes the file; path None: in memory."""

    def __init__(
        self, path: Path | None = None, files: Files | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises ValueError naming the file if it cannot be understood, OSError if it cannot be read."""
        self._path, self._files, self._clock = path, files or DiskFiles(), clock
        self._lock = threading.RLock()
        content = self._load()
        self._users = {user.name: user for user in content.users}
        self._link = content.link

    def all(self) -> list[User]:
        return sorted(self._users.values(), key=lambda user: user.name)

    def find(self, name: str) -> User | None:
        return self._users.get(name)

    def get(self, name: str) -> User:
        """Raises NoSuchUser."""
        user = self._users.get(name)
        if user is None:
            raise NoSuchUser(f"there is no user {name!r}")
        return user

    def owner(self, passkey: str) -> tuple[User, Passkey] | None:
        """Whose passkey has this id."""
        return next(((user, key) for user in self._users.values() for key in user.passkeys if key.id == passkey), None)

    def create(self, name: str, role: Role, password: str | None) -> User:
        """Raises Unfit, Clash."""
        user = self._new(name, role, password)
        with self._lock:
            self._put(self._with(user), self._link)
        return user

    def change(self, name: str, change: Callable[[User], User]) -> User:
        """Put another version of a user in his place. Raises NoSuchUser, Clash, what `change` raises."""
        with self._lock:
            user = change(self.get(name))
            self._keep_an_administrator(name, user.role)
            self._put({**self._users, name: user}, self._link)
        return user

    def remove(self, name: str) -> User:
        """Raises NoSuchUser, Clash."""
        with self._lock:
            user = self.get(name)
            self._keep_an_administrator(name, None)
            self._put({key: value for key, value in self._users.items() if key != name}, self._link)
        return user

    # --- the link that makes an administrator ---

    def new_link(self) -> tuple[str, float]:
        """A secret and when it ends; the one before it does not count any more."""
        secret, expires = secrets.token_urlsafe(32), self._clock() + LINK_LIFE
        with self._lock:
            self._put(self._users, Link(_digest(secret), expires))
        return secret, expires

    def link_open(self) -> bool:
        return self._link is not None and self._clock() < self._link.expires

    def redeem(self, secret: str, name: str, password: str) -> User:
        """The administrator that the link makes, once. Raises Denied, Unfit, Clash."""
        self._check_link(secret)
        user = self._new(name, "admin", password)  # slow, so not under the lock
        with self._lock:
            self._check_link(secret)  # another one may have been faster
            self._put(self._with(user), None)
        return user

    def _check_link(self, secret: str) -> None:
        link = self._link
        right = hmac.compare_digest(_digest(secret), link.digest if link else _digest(""))
        if link is None or not right or self._clock() >= link.expires:
            raise Denied("this link was used already, or has expired, or was replaced by a newer one")

    def _new(self, name: str, role: Role, password: str | None) -> User:
        if not NAME.fullmatch(name) or name in RESERVED:
            raise Unfit(f"{name!r} cannot be a user's name: lower-case letters, digits, and . _ @ - in between")
        hidden = passwords.hide(password) if password is not None else None
        return User(name=name, id=secrets.token_hex(16), role=role, created=self._clock(), password=hidden)

    def _with(self, user: User) -> dict[str, User]:
        if user.name in self._users:
            raise Clash(f"there is a user {user.name} already; take another name")
        if len(self._users) >= MOST:
            raise Clash(f"there are {MOST} users; delete one")
        return {**self._users, user.name: user}

    def _keep_an_administrator(self, name: str, role: Role | None) -> None:
        others = any(user.role == "admin" for user in self._users.values() if user.name != name)
        if self._users[name].role == "admin" and role != "admin" and not others:
            raise Clash(f"{name} is the last administrator; make another one first")

    # --- the file ---

    def _load(self) -> _Content:
        if self._path is None:
            return _Content()
        try:
            return msgspec.json.decode(self._files.read(self._path), type=_Content)
        except FileNotFoundError:
            return _Content()
        except msgspec.DecodeError as error:
            raise ValueError(f"{self._path}: not a file of users: {error}") from None

    def _put(self, users: dict[str, User], link: Link | None) -> None:
        if self._path is not None:
            content = msgspec.json.encode(_Content(list(users.values()), link))
            replace(self._files, self._path, msgspec.json.format(content))
        self._users, self._link = users, link


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
