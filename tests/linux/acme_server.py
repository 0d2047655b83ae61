"""A CA that speaks ACME (RFC 8555), as small as a test needs: it checks signatures, nonces and challenges itself,
without the library that the gateway uses, and lies or fails where a test tells it to."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.client
import json
import secrets
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from skepd.gateway import certificates


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Refused(Exception):
    pass


class Authority:
    """days: how long its certificates hold. refuse: why it signs nothing. foreign: it signs another key than asked."""

    def __init__(self, folder: Path) -> None:
        self.days, self.refuse, self.foreign = 90.0, "", False
        self.challenge_port = 0
        self.issued: list[list[str]] = []
        self.fetched: list[str] = []
        self.accounts: dict[str, dict[str, Any]] = {}
        self.orders: list[dict[str, Any]] = []
        self.nonces: set[str] = set()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._sign(self._key.public_key(), [], "Test CA")
        self.pair = certificates.ensure(folder, ["localhost"])
        handler = type("Handler", (_Handler,), {"authority": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair.server)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.base = f"https://localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def directory(self) -> str:
        return f"{self.base}/directory"

    def root_file(self, folder: Path) -> Path:
        path = folder / "root.pem"
        path.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))
        return path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- what is asked ---

    def answer(self, path: str, account: str, key: dict[str, str], payload: Any) -> tuple[int, Any, dict[str, str]]:
        kind, _, number = path.strip("/").partition("/")
        if kind == "account":
            return self._account(key, payload)
        if not account:
            raise Refused("no account")
        if kind == "new-order":
            return self._new_order(payload)
        order = self.orders[int(number.split("-")[0])]
        if kind == "order":
            return 200, order, {}
        if kind == "authz":
            return 200, order["_authz"][int(number.split("-")[1])], {}
        if kind == "challenge":
            return self._challenge(order["_authz"][int(number.split("-")[1])], key)
        if kind == "finalize":
            return self._finalize(order, int(number), unb64(payload["csr"]))
        return 200, order["_chain"], {}

    def _account(self, key: dict[str, str], payload: Any) -> tuple[int, Any, dict[str, str]]:
        where = f"{self.base}/account/{thumbprint(key)}"
        there = where in self.accounts
        if not there:
            assert payload["termsOfServiceAgreed"] is True
        self.accounts.setdefault(where, {"key": key, "contact": payload.get("contact", [])})
        return 200 if there else 201, {"status": "valid"}, {"Location": where}

    def _new_order(self, payload: Any) -> tuple[int, Any, dict[str, str]]:
        number = len(self.orders)
        authorizations = []
        for index, identifier in enumerate(payload["identifiers"]):
            where = f"{self.base}/challenge/{number}-{index}"
            challenge = {"type": "http-01", "url": where, "token": b64(secrets.token_bytes(32)), "status": "pending"}
            authorizations.append({"identifier": identifier, "status": "pending", "challenges": [challenge]})
        links = [f"{self.base}/authz/{number}-{index}" for index in range(len(authorizations))]
        order = {
            "status": "pending", "identifiers": payload["identifiers"], "authorizations": links,
            "finalize": f"{self.base}/finalize/{number}", "_authz": authorizations,
        }  # fmt: skip
        self.orders.append(order)
        return 201, order, {"Location": f"{self.base}/order/{number}"}

    def _challenge(self, authorization: dict[str, Any], key: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        (challenge,) = authorization["challenges"]
        said = self._fetch(authorization["identifier"]["value"], f"/.well-known/acme-challenge/{challenge['token']}")
        right = said == f"{challenge['token']}.{thumbprint(key)}"
        challenge["status"] = authorization["status"] = "valid" if right else "invalid"
        if not right:
            challenge["error"] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "nothing answers there"}
        link = challenge["url"].replace("/challenge/", "/authz/")
        return 200, challenge, {"Link": f'<{link}>;rel="up"'}

    def _fetch(self, name: str, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.challenge_port, timeout=10)
        self.fetched.append(name)
        try:
            connection.request("GET", path, headers={"Host": name})
            return connection.getresponse().read().decode()
        except OSError as error:
            return str(error)
        finally:
            connection.close()

    def _finalize(self, order: dict[str, Any], number: int, csr: bytes) -> tuple[int, Any, dict[str, str]]:
        if any(one["status"] != "valid" for one in order["_authz"]):
            raise Refused("not all names are verified")
        if self.refuse:
            raise Refused(self.refuse)
        request = x509.load_der_x509_csr(csr)
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        wanted = names.get_values_for_type(x509.DNSName)
        assert request.is_signature_valid
        assert sorted(wanted) == sorted(one["value"] for one in order["identifiers"])
        public = ec.generate_private_key(ec.SECP256R1()).public_key() if self.foreign else request.public_key()
        leaf = self._sign(public, wanted, "")
        self.issued.append(wanted)
        order["_chain"] = "".join(
            one.public_bytes(serialization.Encoding.PEM).decode() for one in (leaf, self.root)
        )  # fmt: skip
        order |= {"status": "valid", "certificate": f"{self.base}/certificate/{number}"}
        return 200, order, {}

    def _sign(self, public: Any, names: list[str], authority: str) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        common = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, authority or names[0])])
        issuer = common if authority else self.root.subject
        made = (
            x509.CertificateBuilder()
            .subject_name(common)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(days=self.days))
            .add_extension(x509.BasicConstraints(ca=bool(authority), path_length=None), critical=True)
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        return made.sign(self._key, hashes.SHA256())


def thumbprint(key: dict[str, str]) -> str:
    return b64(hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).digest())


class _Handler(BaseHTTPRequestHandler):
    authority: Authority
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send(200, None, {})

    def do_GET(self) -> None:
        base = self.authority.base
        links = {"newNonce": f"{base}/nonce", "newAccount": f"{base}/account", "newOrder": f"{base}/new-order"}
        self._send(200, links, {})

    def do_POST(self) -> None:
        try:
            account, key, payload = self._verified(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, content, headers = self.authority.answer(self.path, account, key, payload)
        except Refused as error:
            status, headers = 403, {}
            content = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": str(error)}
        self._send(status, content, headers)

    def _verified(self, body: dict[str, str]) -> tuple[str, dict[str, str], Any]:
        """Account, key and payload of a signed request."""
        protected = json.loads(unb64(body["protected"]))
        assert protected["url"] == self.authority.base + self.path
        try:
            self.authority.nonces.remove(protected["nonce"])
        except KeyError:
            raise Refused("this nonce is not fresh") from None
        account = protected.get("kid", "")
        key = self.authority.accounts[account]["key"] if account else protected["jwk"]
        assert protected["alg"] == "ES256"
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(unb64(key["x"]), "big"), int.from_bytes(unb64(key["y"]), "big"), ec.SECP256R1()
        )
        raw = unb64(body["signature"])
        signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        signed = f"{body['protected']}.{body['payload']}".encode()
        numbers.public_key().verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        return account, key, json.loads(unb64(body["payload"]) or b"null")

    def _send(self, status: int, content: Any, headers: dict[str, str]) -> None:
        nonce = secrets.token_urlsafe(16)
        self.authority.nonces.add(nonce)
        kind = "application/json" if status < 400 else "application/problem+json"
        if isinstance(content, str):
            data, kind = content.encode(), "application/pem-certificate-chain"
        else:
            shown = {k: v for k, v in content.items() if not k.startswith("_")} if content is not None else None
            data = json.dumps(shown).encode() if shown is not None else b""
        self.send_response(status)
        more = {"Content-Type": kind, "Content-Length": str(len(data)), "Replay-Nonce": nonce, **headers}
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
