"""Certificates from a CA that speaks ACME (RFC 8555), by certbot's library and the http-01 challenge.

The account's key and the certificate lie in the gateway's state folder and belong to its user; nobody else is asked.
While there is no certificate yet, or no longer one, the gateway's own stands in.
"""

from __future__ import annotations

import datetime
import logging
import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .certificates import CertificateError, install
from .challenge_door import ChallengeDoor

if TYPE_CHECKING:
    from acme.client import ClientV2

DIRECTORIES = {"letsencrypt": "https://acme-v02.api.letsencrypt.org/directory"}
PATIENCE = 180.0
"""Seconds for the CA to look and to sign."""
LOOK_EVERY = 3600.0
LONGEST_BACKOFF = 86_400.0
log = logging.getLogger("skepd.gateway")


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """folder: of the gateway's state. directory: the CA's address. names: DNS names. trust: a file of CAs that the CA's
    own TLS is checked by; None: what this machine trusts."""

    folder: Path
    directory: str
    names: frozenset[str]
    mail: str | None = None
    trust: Path | None = None
    door: ChallengeDoor

    @property
    def certificate(self) -> Path:
        """Key and chain in one file."""
        return self.folder / "acme.pem"

    def due(self) -> bool:
        """Whether a third of its life or less is left, a name is missing, or there is none."""
        from cryptography import x509

        try:
            leaf = x509.load_pem_x509_certificate(_leaf(self.certificate.read_bytes()))
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
            return True
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        left = leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        return left * 3 <= life or not self.names <= set(names.get_values_for_type(x509.DNSName))

    def obtain(self) -> None:
        """A new certificate, in place of the one before it. Raises CertificateError with the CA's reason, OSError."""
        from acme.errors import Error
        from acme.messages import Error as Refusal
        from josepy.errors import Error as JoseError
        from requests import RequestException

        try:
            pair = self._ordered()
        except (Error, Refusal, JoseError, RequestException, ValueError, KeyError, AttributeError) as error:
            raise CertificateError(f"{self.directory}: {_reason(error)}") from error
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".new-") as scratch:
            new = Path(scratch) / "new"
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(pair)
            context_of(new)  # a chain that does not fit its key must not replace one that does
            install(pair, Path(scratch) / "pair", self.certificate, 0o600)

    def _ordered(self) -> bytes:
        from acme import challenges, crypto_util
        from acme.messages import STATUS_VALID

        client = self._client()
        key = _new_key()
        order = client.new_order(crypto_util.make_csr(key, domains=sorted(self.names)))
        offered: dict[str, str] = {}
        with self._offering(offered):
            for authorization in order.authorizations:
                if authorization.body.status == STATUS_VALID:
                    continue
                found = [each for each in authorization.body.challenges if isinstance(each.chall, challenges.HTTP01)]
                if not found:
                    raise ValueError(f"it does not offer http-01 for {authorization.body.identifier.value}")
                response, text = found[0].response_and_validation(client.net.key)
                offered[found[0].chall.encode("token")] = text
                client.answer_challenge(found[0], response)
            end = datetime.datetime.now() + datetime.timedelta(seconds=PATIENCE)
            order = client.poll_and_finalize(order, end)
        return key + str(order.fullchain_pem).encode()

    @contextmanager
    def _offering(self, answers: dict[str, str]) -> Iterator[None]:
        self.door.answers = answers
        try:
            yield
        finally:
            self.door.answers = {}

    def _client(self) -> ClientV2:
        """A client with an account: the one of our key, or a new one."""
        from acme import client, messages
        from acme.errors import ConflictError
        from josepy.jwa import ES256

        # requests takes a path where the library says bool.
        trust: Any = str(self.trust) if self.trust else True
        net = client.ClientNetwork(self._account_key(), alg=ES256, user_agent="skep-gateway", verify_ssl=trust)
        made = client.ClientV2(client.ClientV2.get_directory(self.directory, net), net)
        wanted = messages.NewRegistration.from_data(email=self.mail, terms_of_service_agreed=True)
        try:
            made.new_account(wanted)
        except ConflictError as there:
            net.account = messages.RegistrationResource(uri=there.location, body=messages.Registration())
        return made

    def _account_key(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from josepy.jwk import JWKEC

        path = self.folder / "acme-account.pem"
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".new-") as scratch:
                install(_new_key(), Path(scratch) / "key", path, 0o600)
        return JWKEC(key=load_pem_private_key(path.read_bytes(), None))


class Keeper:
    """Keeps the CA's certificate fresh, and gives it to who asks for one of its names; all others get our own, which
    they trust already (localhost, addresses)."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._context: ssl.SSLContext | None = None
        self._failures = 0

    def begin(self, own: ssl.SSLContext, doors: list[socket.socket]) -> None:
        """Serve by it beside our own certificate, and answer challenges at the doors, from now on."""
        self.load()
        own.sni_callback = self._choose
        self._issuer.door.serve(doors)
        threading.Thread(target=self._run, name="acme", daemon=True).start()

    def load(self) -> None:
        """Use what lies there from former runs, if anything does."""
        try:
            self._context = context_of(self._issuer.certificate)
        except FileNotFoundError:
            self._context = None
        except (CertificateError, OSError) as error:
            log.error("%s", error)

    def look(self) -> float:
        """Have it renewed if it is time; seconds until the next look."""
        try:
            if self._issuer.due():
                log.info(
                    "asking %s for a certificate for %s", self._issuer.directory, ", ".join(sorted(self._issuer.names))
                )
                self._issuer.obtain()
                self.load()
                log.info("the certificate is there")
        except (CertificateError, OSError) as error:
            self._failures += 1
            wait = min(LONGEST_BACKOFF, LOOK_EVERY * 2.0 ** (self._failures - 1))
            log.error("no new certificate: %s; trying again in %.0f h", error, wait / 3600)
            return wait
        self._failures = 0
        return LOOK_EVERY

    def _run(self) -> None:
        while True:
            try:
                wait = self.look()
            except Exception:
                log.exception("looking after the certificate failed; trying again")
                wait = LOOK_EVERY
            time.sleep(wait)

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _own: ssl.SSLContext) -> None:
        if name is not None and name.lower() in self._issuer.names and self._context is not None:
            connection.context = self._context


def preload() -> None:
    """Import what is needed while this user may still read it. Raises ImportError."""
    for name in (
        *("acme.client", "acme.crypto_util", "josepy.jwk", "josepy.jwa", "requests", "encodings.idna"),
        *("cryptography.x509", "cryptography.hazmat.primitives.asymmetric.ec"),
    ):
        import_module(name)


def context_of(pair: Path) -> ssl.SSLContext:
    """TLS with a key and chain in one file. Raises CertificateError, FileNotFoundError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(pair)
    except ssl.SSLError as error:
        raise CertificateError(f"{pair}: no certificate with its key in PEM ({error.reason})") from None
    return context


def _new_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _leaf(pair: bytes) -> bytes:
    """The first certificate of a file with a key before it."""
    begin = pair.find(b"-----BEGIN CERTIFICATE-----")
    return pair[max(begin, 0) :]


def _reason(error: Exception) -> str:
    """What the CA says for people: of a failed challenge, that of the challenge itself."""
    failed = getattr(error, "failed_authzrs", None)
    if failed:
        said = [str(each.error.detail) for one in failed for each in one.body.challenges if each.error is not None]
        return "; ".join(said) or "it could not verify this host"
    detail = getattr(error, "detail", None)
    return str(detail or error or type(error).__name__)
