"""Where the server is and how to show who one is: from arguments, the environment, and files in ~/.config/skep."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Misconfigured

if TYPE_CHECKING:
    import ssl

SOCKETS = ("/run/skepd/skepd.sock", "/var/run/skepd/skepd.sock")


@dataclass(frozen=True)
class Target:
    """socket: of skepd on this machine; otherwise a host that is reached by TLS (or plainly, on loopback)."""

    socket: str = ""
    host: str = ""
    port: int = 443
    tls: bool = True
    ca: str | None = None
    token: str | None = None

    def context(self) -> ssl.SSLContext:
        """TLS as the settings say. Raises Misconfigured if the CA cannot be read."""
        import ssl

        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise Misconfigured(f"{self.ca}: {error.strerror or error}", "give the CA's certificate by --ca") from None


def resolve(url: str | None = None, ca: str | None = None, token_file: str | None = None) -> Target:
    """The server that arguments and environment mean. Raises Misconfigured."""
    wanted = url or os.environ.get("SKEP_URL") or next(filter(os.path.exists, SOCKETS), SOCKETS[0])
    if wanted.startswith(("unix:", "/")):
        return Target(socket=wanted.removeprefix("unix:").removeprefix("//"), token=_given_token(token_file))
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(wanted)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("https", "http"):
        raise Misconfigured(f"{wanted!r} is not an address of Skep", "write https://HOST or unix:/PATH")
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        raise Misconfigured(f"{wanted}: a token never travels unencrypted", f"write https://{host}")
    return Target(
        host=host,
        port=port or (443 if parts.scheme == "https" else 80),
        tls=parts.scheme == "https",
        ca=ca or os.environ.get("SKEP_CA") or _default_ca(),
        token=_given_token(token_file) or _token_of(folder() / "token", missing_ok=True),
    )


def folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "skep"


def _default_ca() -> str | None:
    path = folder() / "ca.pem"
    return str(path) if path.exists() else None


def _given_token(token_file: str | None) -> str | None:
    """A token that somebody asked to use. On the unix socket nothing else is sent: the kernel says who calls."""
    if token_file:
        return _token_of(Path(token_file))
    return os.environ.get("SKEP_TOKEN") or None


def _token_of(path: Path, *, missing_ok: bool = False) -> str | None:
    try:
        with open(path, encoding="ascii") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise Misconfigured(f"{path}: others can read this token", f"chmod 600 {path}")
            return stream.read(1024).strip() or None
    except FileNotFoundError:
        if missing_ok:
            return None
        raise Misconfigured(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: {error}") from None
