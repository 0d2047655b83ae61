"""A device with passkeys, in software: makes keys and signs as WebAuthn wants it, and lies where a test tells it to."""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.utils import websafe_decode, websafe_encode

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Key:
    place: str
    user: bytes
    private: ec.EllipticCurvePrivateKey
    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    count: int = 0


@dataclass
class Device:
    """flags: what it says about its user. counting: whether it counts uses; phones do not."""

    flags: int = PRESENT | VERIFIED
    counting: bool = True
    algorithm: int = -7
    keys: list[Key] = field(default_factory=list)

    def create(self, options: dict[str, Any], origin: str) -> dict[str, Any]:
        """What navigator.credentials.create() gives a page of this origin."""
        public = options["publicKey"]
        key = Key(public["rp"]["id"], websafe_decode(public["user"]["id"]), ec.generate_private_key(ec.SECP256R1()))
        self.keys.append(key)
        numbers = key.private.public_key().public_numbers()
        point = {-2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        cose = cbor.encode({1: 2, 3: self.algorithm, -1: 1, **point})
        attested = bytes(16) + struct.pack("!H", len(key.id)) + key.id + cose
        data = self._data(key, self.flags | ATTESTED) + attested
        attestation = cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})
        client = _client_data("webauthn.create", public["challenge"], origin)
        response = {"clientDataJSON": websafe_encode(client), "attestationObject": websafe_encode(attestation)}
        return _credential(key, response)

    def get(self, options: dict[str, Any], origin: str, key: Key | None = None) -> dict[str, Any]:
        """What navigator.credentials.get() gives."""
        public = options["publicKey"]
        chosen = key or next(one for one in self.keys if one.place == public["rpId"])
        chosen.count += self.counting
        data = self._data(chosen, self.flags, public["rpId"])
        client = _client_data("webauthn.get", public["challenge"], origin)
        signed = chosen.private.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": websafe_encode(client),
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(signed),
            "userHandle": websafe_encode(chosen.user),
        }
        return _credential(chosen, response)

    def _data(self, key: Key, flags: int, place: str | None = None) -> bytes:
        return hashlib.sha256((place or key.place).encode()).digest() + struct.pack("!BI", flags, key.count)


def _client_data(kind: str, challenge: str, origin: str) -> bytes:
    return json.dumps({"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}).encode()


def _credential(key: Key, response: dict[str, Any]) -> dict[str, Any]:
    identity = websafe_encode(key.id)
    more = {"authenticatorAttachment": "platform", "clientExtensionResults": {}}
    return {"id": identity, "rawId": identity, "type": "public-key", "response": response, **more}
