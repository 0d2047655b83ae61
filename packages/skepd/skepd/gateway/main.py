"""`skep-gateway`: TLS in front of skepd, run as a user that can do nothing else."""

from __future__ import annotations

import argparse
import codecs
import ipaddress
import logging
import os
import pwd
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

from skepd.api.limits import allow_descriptors
from skepd.platform.here import here
from skepd.platform.places import Places

from .app import Gateway
from .certificates import CertificateError, alternative_name, ensure
from .challenge_door import ChallengeDoor
from .consoles import GatewayH11
from .issuing import DIRECTORIES, Issuer, Keeper, preload
from .pages import Pages

USAGE, CONFIGURATION = 64, 78
CONNECTIONS = 1000
DAY = 86_400.0
AUTHORITY = "/ca.pem"
"""Where a browser gets the certificate of the gateway's own CA, to trust it from then on."""
log = logging.getLogger("skepd.gateway")


class Refused(Exception):
    """A configuration that will not be served. The text says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; returns an exit code of sysexits(3)."""
    try:
        options = _parser(here().places).parse_args(arguments)
    except LookupError as error:
        print(f"skep-gateway: {error}", file=sys.stderr)  # noqa: T201
        return CONFIGURATION
    logging.basicConfig(level=logging.INFO, format="skep-gateway: %(message)s", stream=sys.stderr)
    try:
        run(options)
    except (Refused, CertificateError) as error:
        log.error("%s", error)
        return CONFIGURATION
    except OSError as error:
        log.error("%s: %s", error.filename or "listen", error.strerror or error)
        return CONFIGURATION
    return 0


def run(options: argparse.Namespace) -> None:
    """Open what needs privilege, drop it, serve. Raises Refused, CertificateError, OSError."""
    addresses = [parse_address(text) for text in options.listen or ["127.0.0.1:8443"]]
    check(addresses, plain=options.plain, files=(options.certificate, options.key))
    keeper = _keeper(options, addresses[0][1])
    own = None if options.plain or options.certificate else options.state
    if os.geteuid() == 0 and not options.user:
        raise Refused("root is not needed and not wanted here; say --user skepgw")
    context = _context(options.certificate, options.key) if options.certificate else None
    if options.check:
        log.info("these options are fine")
        return
    allow_descriptors(2 * CONNECTIONS)
    listeners = [bind(*address) for address in addresses]
    doors = [bind(*parse_address(text)) for text in options.acme_listen or ["0.0.0.0:80"]] if keeper else []
    codecs.lookup("idna")  # loaded with the first WebSocket, when this user may not read the library any more
    pages = Pages()  # read while this user still may
    drop_privilege(options.user, own)
    if own is not None:
        names = _names(addresses, options.name)
        pair = ensure(own, names)
        context = _context(pair.server, None)
        log.info("clients must trust %s", pair.ca)
        pages.offer(AUTHORITY, "application/x-pem-file", pair.ca.read_bytes())
        threading.Thread(target=_keep_certificate, args=(own, names, context), name="renewal", daemon=True).start()
        if keeper:
            keeper.begin(context, doors)
    for host, port in addresses:
        log.info("listening on %s port %d%s", host, port, "" if context else ", without TLS")
    serve(Gateway(options.socket, pages), listeners, context)


def _keeper(options: argparse.Namespace, port: int) -> Keeper | None:
    """Who looks after certificates of a CA by ACME, if that is wanted. Raises Refused."""
    if not options.acme:
        return None
    if options.plain or options.certificate:
        raise Refused("--acme gets certificates itself: leave --plain and --certificate out")
    names = frozenset(name.lower() for name in options.name or () if alternative_name(name).startswith("DNS:"))
    if not names:
        raise Refused("--acme needs the names that the certificate is for: --name HOST.EXAMPLE.ORG")
    try:
        preload()
    except ImportError as error:
        raise Refused(f"--acme needs the Python package acme (security/py-acme on FreeBSD): {error}") from None
    door = ChallengeDoor(names, port)
    directory = DIRECTORIES.get(options.acme, options.acme)
    return Keeper(
        Issuer(
            folder=options.state, directory=directory, names=names, mail=options.acme_mail, trust=options.acme_ca,
            door=door,
        )
    )  # fmt: skip


def renew(own: Path, names: set[str], context: ssl.SSLContext) -> None:
    """Serve new connections with a certificate that holds, made anew in time. Raises CertificateError, OSError."""
    context.load_cert_chain(ensure(own, names).server)


def _keep_certificate(own: Path, names: set[str], context: ssl.SSLContext) -> None:
    """A gateway may run for longer than its certificate holds."""
    while True:
        time.sleep(DAY)
        try:
            renew(own, names, context)
        except (CertificateError, OSError) as error:
            log.error("the certificate could not be looked after: %s", error)


def serve(app: Gateway, listeners: list[socket.socket], context: ssl.SSLContext | None) -> None:
    """Serve on these sockets until SIGTERM or SIGINT."""
    configuration = uvicorn.Config(
        app,
        http=GatewayH11,
        ws=WSProtocol,
        ws_max_size=1 << 20,
        ws_per_message_deflate=False,
        ws_ping_interval=30.0,
        ws_ping_timeout=120.0,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        limit_concurrency=CONNECTIONS,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )
    uvicorn.Server(configuration).run(listeners)


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT or [IPV6]:PORT, the host an address. Raises Refused."""
    host, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), _port(port)
    except ValueError:
        raise Refused(f"{text!r} is not an address to listen on; write 0.0.0.0:8443 or [::]:8443") from None


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65_536:
        raise ValueError(text)
    return number


def check(addresses: list[tuple[str, int]], *, plain: bool, files: tuple[Path | None, Path | None]) -> None:
    """Raises Refused for what must not be served: tokens in the clear beyond this machine, half a certificate."""
    certificate, key = files
    if (certificate is None) != (key is None):
        raise Refused("--certificate and --key go together; give both or none")
    if plain and certificate:
        raise Refused("--plain and --certificate contradict each other; leave one out")
    for host, _ in addresses:
        if plain and not ipaddress.ip_address(host).is_loopback:
            raise Refused(f"without TLS only loopback is served, not {host}; leave --plain out")


def bind(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet: nobody connects before everything is ready."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, port))
    return listener


def drop_privilege(user: str | None, state: Path | None) -> None:
    """Become `user` for good, if we are root; a state folder that is missing is made for him first."""
    if os.geteuid() != 0:
        if state is not None:
            state.mkdir(mode=0o700, exist_ok=True)
        return
    try:
        entry = pwd.getpwnam(user or "")
    except KeyError:
        raise Refused(f"there is no user {user!r}; make one that owns nothing") from None
    if entry.pw_uid == 0:
        raise Refused("root is not needed and not wanted here; say --user skepgw")
    if state is not None and not state.exists():
        state.mkdir(mode=0o755)
        os.chown(state, entry.pw_uid, entry.pw_gid)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise Refused(f"{certificate}: no certificate with its key in PEM ({error.reason})") from None
    return context


def _names(addresses: list[tuple[str, int]], more: list[str] | None) -> set[str]:
    """What the certificate is for: this host's name, what it listens on, and what the administrator says."""
    names = {"localhost", "127.0.0.1", "::1", *(more or ())}
    names |= {host for host, _ in addresses if not ipaddress.ip_address(host).is_unspecified}
    return names | {name for name in (socket.gethostname(),) if name}


def _parser(places: Places) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skep-gateway", description="TLS and tokens in front of skepd.")
    parser.add_argument("--listen", action="append", metavar="ADDRESS:PORT", help="repeatable; 127.0.0.1:8443")
    parser.add_argument("--socket", type=Path, default=places.socket, help="skepd's socket")
    parser.add_argument("--state", type=Path, default=Path("/var/db/skep-gateway"), help="own CA and certificate")
    parser.add_argument("--name", action="append", help="name or address for the certificate; repeatable")
    parser.add_argument("--certificate", type=Path, help="the administrator's certificate chain (PEM)")
    parser.add_argument("--key", type=Path, help="its key")
    parser.add_argument("--acme", metavar="URL", help="get certificates for --name from this CA: letsencrypt, or a URL")
    parser.add_argument("--acme-mail", metavar="ADDRESS", help="where the CA may write to")
    parser.add_argument("--acme-ca", type=Path, metavar="FILE", help="CAs that the CA's own TLS is checked by")
    parser.add_argument("--acme-listen", action="append", metavar="ADDRESS:PORT", help="for challenges; 0.0.0.0:80")
    parser.add_argument("--user", help="user to become, when started as root")
    parser.add_argument("--check", action="store_true", help="say whether these options could be served, and end")
    parser.add_argument("--plain", action="store_true", help="without TLS; on loopback only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
