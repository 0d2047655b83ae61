"""Who calls and what he may do: a token, a session's cookie, or the uid at the other end of the unix socket."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass

from skep.wire import ROLES, Role
from starlette.requests import HTTPConnection

from skepd.access.access import Access

from .problems import ApiError
from .subprotocol import offered_token
from .tokens import TokenStore
from .visitor import Visitor, cookie, require_own_page, visitor

PEER = "skep.peer"
"""Key of the connection's scope that holds the peer's uid."""
LOOKUP_LIFE = 10.0
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="skep"'}
NO_TOKEN = "bearer"  # noqa: S105 - what a gateway says for a caller without a token


@dataclass(frozen=True)
class Caller:
    """via: socket, token, session. key: what this depends on ("session:ID", "token:ID"; see `access.endings`)."""

    name: str
    role: Role
    via: str
    key: str = ""
    peer: str = ""

    def may(self, role: Role) -> bool:
        return may(self.role, role)


def may(role: Role, needed: Role) -> bool:
    return ROLES.index(role) >= ROLES.index(needed)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Groups whose members have a role on the unix socket. root and skepd's own uid are admin.

    gateways: users that speak for others: without a token they get nothing, whatever groups they are in.
    """

    admin: str = "skep"
    operator: str = "skep-operator"
    viewer: str = "skep-viewer"
    gateways: tuple[str, ...] = ("skepgw",)


@dataclass(frozen=True)
class Account:
    name: str
    groups: frozenset[str]


def look_up(uid: int) -> Account:
    """A uid's name and groups by the system's data bases (a network may be asked: call it in a thread)."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(f"uid {uid}", frozenset())
    groups = set()
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            groups.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return Account(entry.pw_name, frozenset(groups))


class Authoriser:
    """Answers who a connection is from. Thread-safe; group membership is remembered for ten seconds.

    access: None for accounts and sessions in memory.
    """

    def __init__(
        self,
        tokens: TokenStore,
        policy: Policy | None = None,
        accounts: Callable[[int], Account] = look_up,
        access: Access | None = None,
    ) -> None:
        self.access = access or Access()
        self._tokens = tokens
        self._policy = policy or Policy()
        self._accounts = accounts
        self._seen: dict[int, tuple[float, Account]] = {}

    def caller(self, connection: HTTPConnection) -> Caller:
        """Who calls. Raises ApiError 401 (no or wrong credential) or 403 (known, but without a role)."""
        came = self.visitor(connection)
        presented = _token(connection)
        if presented:
            token = self._tokens.check(presented)
            if token is None:
                raise _unauthorised("this token is not valid (revoked, or mistyped)")
            return Caller(token.name, token.role, "token", f"token:{token.id}", came.peer)
        secret = cookie(connection, came.scheme)
        if secret is not None:
            return self._holder(connection, came, secret)
        uid = connection.scope.get(PEER)
        if uid is None or presented == "":
            raise _unauthorised("no token was given")
        return self._peer(uid, came.peer)

    def visitor(self, connection: HTTPConnection) -> Visitor:
        """Where a connection comes from. What a gateway says about it counts, and what skepd's own user or root say."""
        uid = connection.scope.get(PEER)
        own = uid in (0, os.geteuid())
        gateway = uid is not None and (own or self._account(uid).name in self._policy.gateways)
        return visitor(connection, uid, gateway)

    def _holder(self, connection: HTTPConnection, came: Visitor, secret: str) -> Caller:
        require_own_page(connection, came)
        found = self.access.holder(secret)
        if found is None:
            raise ApiError(401, "this session has ended", "sign in again", dict(_CHALLENGE))
        user, session = found
        return Caller(user.name, user.role, "session", session.key, came.peer)

    def _peer(self, uid: int, peer: str) -> Caller:
        if uid in (0, os.geteuid()):
            return Caller("root" if uid == 0 else "skepd", "admin", "socket", peer=peer)
        account = self._account(uid)
        if account.name in self._policy.gateways:
            raise _unauthorised("no token was given")
        for role in reversed(ROLES):
            if getattr(self._policy, role) in account.groups:
                return Caller(account.name, role, "socket", peer=peer)
        raise ApiError(
            403,
            f"{account.name} has no role in Skep on this host",
            f"join the group {self._policy.admin} or use a token",
        )

    def is_gateway(self, uid: int) -> bool:
        """Whether this user may speak for others; it may take a while (see look_up)."""
        return uid in (0, os.geteuid()) or self._account(uid).name in self._policy.gateways

    def _account(self, uid: int) -> Account:
        now = time.monotonic()
        known = self._seen.get(uid)
        if known is None or known[0] < now:
            if len(self._seen) > 1000:
                self._seen.clear()
            known = self._seen[uid] = (now + LOOKUP_LIFE, self._accounts(uid))
        return known[1]


def require(caller: Caller, role: Role) -> None:
    """Raises ApiError 403 if the caller's role is too weak."""
    if not caller.may(role):
        raise ApiError(403, f"{caller.name} is {caller.role}; this needs {role}", "ask an administrator of this host")


def admit_stranger(access: Access, connection: HTTPConnection, came: Visitor) -> None:
    """For public routes. Raises LockedOut for too many calls of a peer, ApiError 403 for a page of somebody else's."""
    access.strangers.take(came.network)
    require_own_page(connection, came)


def _token(connection: HTTPConnection) -> str | None:
    """A token; "" when a gateway says that its caller has none; None when nothing is said."""
    header = connection.headers.get("authorization")
    if header is not None:
        scheme, _, value = header.partition(" ")
        if header.lower() == NO_TOKEN:
            return ""
        if scheme.lower() != "bearer" or not value.strip():
            raise _unauthorised("only `Authorization: Bearer TOKEN` is understood")
        return value.strip()
    return offered_token(connection.scope.get("subprotocols", ()))


def _unauthorised(detail: str) -> ApiError:
    hint = "give a token: `skep token create` on the host makes one"
    return ApiError(401, detail, hint, dict(_CHALLENGE))
