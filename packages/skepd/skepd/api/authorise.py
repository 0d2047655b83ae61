"""Who calls and what he may do: a token, or the uid at the other end of the unix socket. Nothing else gets in."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass

from skep.wire import ROLES, Role
from starlette.requests import HTTPConnection

from .problems import ApiError
from .subprotocol import offered_token
from .tokens import TokenStore

PEER = "skep.peer"
"""Key of the connection's scope that holds the peer's uid."""
LOOKUP_LIFE = 10.0
NO_TOKEN = "bearer"  # noqa: S105 - what a gateway says for a caller without a token


@dataclass(frozen=True)
class Caller:
    name: str
    role: Role
    via: str

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


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
    """Answers who a connection is from. Thread-safe; group membership is remembered for ten seconds."""

    def __init__(
        self, tokens: TokenStore, policy: Policy | None = None, accounts: Callable[[int], Account] = look_up
    ) -> None:
        self._tokens = tokens
        self._policy = policy or Policy()
        self._accounts = accounts
        self._seen: dict[int, tuple[float, Account]] = {}

    def caller(self, connection: HTTPConnection) -> Caller:
        """Who calls. Raises ApiError 401 (no or wrong credential) or 403 (known, but without a role)."""
        presented = _token(connection)
        if presented is not None:
            token = self._tokens.check(presented)
            if token is None:
                raise _unauthorised("this token is not valid (revoked, or mistyped)")
            return Caller(token.name, token.role, "token")
        uid = connection.scope.get(PEER)
        if uid is None:
            raise _unauthorised("no token was given")
        return self._peer(uid)

    def _peer(self, uid: int) -> Caller:
        if uid in (0, os.geteuid()):
            return Caller("root" if uid == 0 else "skepd", "admin", "socket")
        account = self._account(uid)
        if account.name in self._policy.gateways:
            raise _unauthorised("no token was given")
        for role in reversed(ROLES):
            if getattr(self._policy, role) in account.groups:
                return Caller(account.name, role, "socket")
        raise ApiError(
            403,
            f"{account.name} has no role in Skep on this host",
            f"join the group {self._policy.admin} or use a token",
        )

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


def _token(connection: HTTPConnection) -> str | None:
    header = connection.headers.get("authorization")
    if header is not None:
        scheme, _, value = header.partition(" ")
        if header.lower() == NO_TOKEN:
            raise _unauthorised("no token was given")
        if scheme.lower() != "bearer" or not value.strip():
            raise _unauthorised("only `Authorization: Bearer TOKEN` is understood")
        return value.strip()
    return offered_token(connection.scope.get("subprotocols", ()))


def _unauthorised(detail: str) -> ApiError:
    hint = "give a token: `skep token create` on the host makes one"
    return ApiError(401, detail, hint, {"WWW-Authenticate": 'Bearer realm="skep"'})
