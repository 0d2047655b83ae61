"""Passkeys: WebAuthn by python-fido2. A key belongs to the name of the page and to a user; it shows that he is there
and that his device knows him (a finger, a PIN), so it needs no password and no name beside it.

Nothing is asked about who made the device (no attestation). fido2 is imported with the first passkey: it is slow.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from .challenges import Challenges
from .errors import Clash, Denied, NoSuchUser, Unfit
from .users import Passkey, User, UserStore

if TYPE_CHECKING:
    from fido2.server import Fido2Server
    from fido2.webauthn import AttestedCredentialData

ALGORITHMS = (-7, -8, -257)
"""ES256, EdDSA, RS256: what all devices have one of."""
MOST = 20
NOT_ACCEPTED = "the passkey was not accepted"


@dataclass(frozen=True)
class Page:
    """Where the browser is. place: the host without its port."""

    origin: str
    place: str


class Passkeys:
    """Thread-safe."""

    def __init__(self, users: UserStore, clock: Callable[[], float] = time.time) -> None:
        self._users, self._clock = users, clock
        self._challenges = Challenges(clock)

    def begin_registration(self, page: Page, user: User) -> dict[str, Any]:
        """What the browser needs to make a key. Raises Unfit where the page has no name, Clash for too many keys."""
        if len(user.passkeys) >= MOST:
            raise Clash(f"{user.name} has {MOST} passkeys; remove one")
        from fido2.webauthn import PublicKeyCredentialUserEntity, ResidentKeyRequirement, UserVerificationRequirement

        there = [_stored(key) for key in user.passkeys if key.place == page.place]
        options, _ = _server(page).register_begin(
            PublicKeyCredentialUserEntity(id=bytes.fromhex(user.id), name=user.name, display_name=user.name),
            there,
            resident_key_requirement=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
            challenge=self._challenges.make(_registering(page, user)),
        )
        return dict(options)

    def finish_registration(self, page: Page, user: User, name: str, credential: Mapping[str, Any]) -> Passkey:
        """Raises Denied, Unfit, Clash, NoSuchUser."""
        server = _server(page)
        try:
            challenge = _challenge(credential)
            if not self._challenges.holds(challenge, _registering(page, user)):
                raise Denied(NOT_ACCEPTED)
            data = server.register_complete(_state(challenge), credential).credential_data
            assert data is not None
            algorithm = data.public_key.ALGORITHM
        except Denied:
            raise
        except Exception as error:
            raise Denied(NOT_ACCEPTED) from error
        if algorithm not in ALGORITHMS or not self._challenges.use(challenge):
            raise Denied(NOT_ACCEPTED)
        key = Passkey(
            id=_text(data.credential_id), name=name, data=_text(data), place=page.place, created=self._clock()
        )

        def add(now: User) -> User:
            if self._users.owner(key.id) is not None:
                raise Clash("this passkey is here already")
            return msgspec.structs.replace(now, passkeys=(*now.passkeys, key))

        self._users.change(user.name, add)
        return key

    def begin_sign_in(self, page: Page) -> dict[str, Any]:
        """The same for everybody: the device knows which user it has a key of. Raises Unfit."""
        from fido2.webauthn import UserVerificationRequirement

        options, _ = _server(page).authenticate_begin(
            user_verification=UserVerificationRequirement.REQUIRED, challenge=self._challenges.make(_signing_in(page))
        )
        return dict(options)

    def finish_sign_in(self, page: Page, credential: Mapping[str, Any]) -> User:
        """Whose key it is. Raises Denied, Unfit."""
        server = _server(page)
        try:
            challenge = _challenge(credential)
            owned = self._users.owner(str(credential["id"]))
            if (
                owned is None
                or owned[1].place != page.place
                or not self._challenges.holds(challenge, _signing_in(page))
            ):
                raise Denied(NOT_ACCEPTED)
            user, key = owned
            count = _verified(server, challenge, user, key, credential)
        except Denied:
            raise
        except Exception as error:
            raise Denied(NOT_ACCEPTED) from error
        if not self._challenges.use(challenge):
            raise Denied(NOT_ACCEPTED)
        try:
            return self._users.change(user.name, lambda now: _used(now, key.id, count, self._clock()))
        except NoSuchUser:
            raise Denied(NOT_ACCEPTED) from None

    def remove(self, name: str, identity: str) -> None:
        """Raises NoSuchUser, LookupError."""

        def drop(now: User) -> User:
            left = tuple(key for key in now.passkeys if key.id != identity)
            if len(left) == len(now.passkeys):
                raise NoSuchUser(f"{name} has no passkey {identity!r}")
            return msgspec.structs.replace(now, passkeys=left)

        self._users.change(name, drop)


def _server(page: Page) -> Fido2Server:
    _require_name(page.place)
    from fido2.server import Fido2Server
    from fido2.webauthn import PublicKeyCredentialParameters, PublicKeyCredentialRpEntity, PublicKeyCredentialType

    server = Fido2Server(
        PublicKeyCredentialRpEntity(id=page.place, name="Skep"), verify_origin=lambda origin: origin == page.origin
    )
    server.allowed_algorithms = [
        PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=number) for number in ALGORITHMS
    ]
    return server


def _require_name(place: str) -> None:
    """Browsers keep passkeys for names only."""
    try:
        ipaddress.ip_address(place)
    except ValueError:
        if place:
            return
    raise Unfit(f"passkeys need a page with a name, and this one is at {place or 'none'}; open Skep by its host name")


def _verified(server: Fido2Server, challenge: bytes, user: User, key: Passkey, credential: Mapping[str, Any]) -> int:
    """The device's counter, if the signature is right and the key is this user's."""
    from fido2.webauthn import AuthenticationResponse

    server.authenticate_complete(_state(challenge), [_stored(key)], credential)
    response = AuthenticationResponse.from_dict(credential).response
    handle = response.user_handle
    if handle is not None and handle != bytes.fromhex(user.id):
        raise Denied(NOT_ACCEPTED)
    return int(response.authenticator_data.counter)


def _used(user: User, identity: str, count: int, now: float) -> User:
    """The user whose key was used. A counter that does not rise means two devices with one key."""
    found = next((key for key in user.passkeys if key.id == identity), None)
    if found is None or ((count or found.count) and count <= found.count):
        raise Denied(NOT_ACCEPTED)
    used = msgspec.structs.replace(found, used=now, count=count)
    return msgspec.structs.replace(user, passkeys=tuple(used if key is found else key for key in user.passkeys))


def _challenge(credential: Mapping[str, Any]) -> bytes:
    from fido2.utils import websafe_decode
    from fido2.webauthn import CollectedClientData

    return CollectedClientData(websafe_decode(credential["response"]["clientDataJSON"])).challenge


def _state(challenge: bytes) -> dict[str, Any]:
    """What fido2 compares an answer with."""
    from fido2.webauthn import UserVerificationRequirement

    return {"challenge": _text(challenge), "user_verification": UserVerificationRequirement.REQUIRED}


def _stored(key: Passkey) -> AttestedCredentialData:
    from fido2.utils import websafe_decode
    from fido2.webauthn import AttestedCredentialData

    return AttestedCredentialData(websafe_decode(key.data))


def _text(data: bytes) -> str:
    from fido2.utils import websafe_encode

    return websafe_encode(data)


def _registering(page: Page, user: User) -> str:
    return f"register {user.id} {page.origin}"


def _signing_in(page: Page) -> str:
    return f"sign in {page.origin}"
