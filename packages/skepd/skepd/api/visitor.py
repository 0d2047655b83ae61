"""Where a request comes from: the browser's address and origin as the gateway tells them, and nobody else."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from skepd.access.passkeys import Page

from .problems import ApiError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIES = {"https": "__Host-skep", "http": "skep-session"}
"""By the scheme that the browser used: the first cannot be set by another host or without TLS. The second is for
loopback without TLS alone, which is all that the gateway serves so."""


@dataclass(frozen=True)
class Visitor:
    """peer: an address, or "uid N" on the unix socket. scheme, host: what the browser asked for."""

    peer: str
    scheme: str
    host: str
    agent: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def page(self) -> Page:
        """Where the browser is; the place is the host without its port."""
        name = self.host.rpartition(":")[0] if not self.host.endswith("]") and ":" in self.host else self.host
        return Page(self.origin, name.strip("[]"))

    @property
    def network(self) -> str:
        """What is counted as one peer: a host has 2^64 addresses of IPv6."""
        try:
            address = ipaddress.ip_address(self.peer)
        except ValueError:
            return self.peer
        return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else self.peer


def visitor(connection: HTTPConnection, uid: int | None, gateway: bool) -> Visitor:
    """gateway: whether the peer may speak for others."""
    headers = connection.headers
    told = headers if gateway else {}
    scheme = told.get("x-skep-scheme", "https")
    return Visitor(
        peer=told.get("x-skep-peer") or ("unknown" if uid is None else f"uid {uid}"),
        scheme=scheme if scheme in COOKIES else "https",
        host=headers.get("host", "").lower(),
        agent=headers.get("user-agent", ""),
    )


def cookie(connection: HTTPConnection, scheme: str) -> str | None:
    """The secret in the session's cookie. Two of them are none: one is not the browser's own doing."""
    wanted = COOKIES[scheme] + "="
    pairs = [pair.strip() for line in connection.headers.getlist("cookie") for pair in line.split(";")]
    found = [pair.removeprefix(wanted) for pair in pairs if pair.startswith(wanted)]
    return found[0] if len(found) == 1 else None


def set_cookie(scheme: str, secret: str) -> str:
    """A Set-Cookie header. secret "": the browser forgets it. It ends with the browser; the server ends it sooner."""
    secure = "; Secure" if scheme == "https" else ""
    gone = "" if secret else "; Max-Age=0"
    return f"{COOKIES[scheme]}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}{gone}"


def require_own_page(connection: HTTPConnection, came: Visitor) -> None:
    """Raises ApiError 403 unless the page that asks is one of this server: for what carries a cookie or gets one."""
    if connection.scope["type"] != "websocket" and connection.scope["method"] in SAFE:
        site = connection.headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none"):
            raise ApiError(403, f"a page of another origin asked ({site})", "open Skep's own page")
        return
    if came.peer.startswith("uid ") and "x-skep-peer" in connection.headers:
        what = f"this gateway runs as {came.peer}, which skepd does not take for a gateway"
        raise ApiError(403, what, "name its user to skepd: --gateway-user NAME")
    origins = connection.headers.getlist("origin")
    if len(origins) != 1 or origins[0].lower() != came.origin:
        said = ", ".join(origins)[:100] or "none"
        raise ApiError(403, f"the origin of the page ({said}) is not this server", "open Skep's own page")
    if connection.scope["type"] != "websocket" and connection.headers.get("x-skep") != "1":
        raise ApiError(403, "the header `X-Skep: 1` is missing", "pages of Skep send it with every change")
