"""Passkeys, with a device in software; and everything that a wrong device, page or thief might send instead."""

from __future__ import annotations

import copy
import secrets
from typing import Any

import pytest
from browser import PASSWORD, Browser
from fido2.utils import websafe_encode
from hypothesis import given, settings
from hypothesis import strategies as st
from running_api import Running
from skepd.access import challenges
from skepd.access.access import FRESH, Access
from skepd.access.challenges import Challenges
from skepd.access.errors import Denied
from skepd.access.passkeys import Page, Passkeys
from soft_authenticator import PRESENT, VERIFIED, Device, Key

ORIGIN = "https://hive.example:8443"


@pytest.fixture
def anna(running: Running) -> Browser:
    running.access.users.create("anna", "operator", PASSWORD)
    browser = Browser(running)
    browser.sign_in("anna")
    return browser


@pytest.fixture
def device(anna: Browser) -> Device:
    """With a key of anna's."""
    made = Device()
    assert add(anna, made)[0] == 201
    return made


def add(browser: Browser, device: Device, origin: str = ORIGIN, user: str = "anna") -> tuple[int, Any]:
    status, _, options = browser("POST", f"/v1/users/{user}/passkeys/begin", {})
    assert status == 200
    body = {"name": "her phone", "credential": device.create(options, origin)}
    status, _, made = browser("POST", f"/v1/users/{user}/passkeys", body)
    return status, made


def begin(browser: Browser) -> dict[str, Any]:
    status, headers, options = browser("POST", "/v1/sessions/passkey/begin", {})
    assert (status, headers["cache-control"]) == (200, "no-store")
    return options


def enter(browser: Browser, credential: dict[str, Any]) -> int:
    return browser("POST", "/v1/sessions/passkey", {"credential": credential})[0]


def test_a_passkey_signs_in_without_a_name(anna: Browser, device: Device) -> None:
    browser = Browser(anna.running, "192.0.2.8")
    options = begin(browser)
    assert options["publicKey"]["rpId"] == "hive.example"
    assert options["publicKey"]["userVerification"] == "required"
    assert "allowCredentials" not in options["publicKey"]
    credential = device.get(options, ORIGIN)
    status, _, caller = browser("POST", "/v1/sessions/passkey", {"credential": credential})
    assert (status, caller) == (201, {"name": "anna", "role": "operator", "via": "session"})
    (shown,) = anna("GET", "/v1/users/anna")[2]["passkeys"]
    assert (shown["name"], shown["place"], shown["id"]) == ("her phone", "hive.example", credential["id"])
    assert shown["used"] > 0
    found = [(one["who"], one["via"]) for one in anna.running.request("GET", "/v1/audit")[2] if "passkey" in one["ref"]]
    assert ("anna", "passkey") in found


def test_what_the_browser_is_asked_to_make(anna: Browser, device: Device) -> None:
    options = anna("POST", "/v1/users/anna/passkeys/begin", {})[2]["publicKey"]
    assert options["rp"] == {"id": "hive.example", "name": "Skep"}
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert [one["id"] for one in options["excludeCredentials"]] == [websafe_encode(device.keys[0].id)]
    assert [one["alg"] for one in options["pubKeyCredParams"]] == [-7, -8, -257]


def test_a_removed_passkey_opens_nothing(anna: Browser, device: Device) -> None:
    (shown,) = anna("GET", "/v1/users/anna")[2]["passkeys"]
    assert anna("DELETE", f"/v1/users/anna/passkeys/{shown['id']}")[0] == 204
    assert anna("DELETE", f"/v1/users/anna/passkeys/{shown['id']}")[0] == 404
    assert enter(anna, device.get(begin(anna), ORIGIN)) == 401


def test_an_answer_counts_once_and_in_time(anna: Browser, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.counting = False
    credential = device.get(begin(anna), ORIGIN)
    assert enter(anna, credential) == 201
    assert enter(anna, credential) == 401
    monkeypatch.setattr(challenges, "LIFE", -1.0)
    assert enter(anna, device.get(begin(anna), ORIGIN)) == 401


def test_other_pages_get_nowhere(anna: Browser, device: Device) -> None:
    """A page that looks like Skep cannot use what it gets: the browser says where it was."""
    for origin in ("https://evil.example", "https://hive.example", "http://hive.example:8443", ""):
        assert enter(anna, device.get(begin(anna), origin)) == 401
        assert add(anna, Device(), origin)[0] == 401
    other = Browser(anna.running, host="other.example:8443")
    options = begin(other)
    assert enter(anna, device.get(options, ORIGIN, device.keys[0])) == 401  # a challenge of another page
    options["publicKey"]["rpId"] = "hive.example"
    assert enter(other, device.get(options, "https://other.example:8443")) == 401  # a key of another page


@pytest.mark.parametrize("flags", [0, PRESENT, VERIFIED])
def test_the_device_must_have_seen_its_user(anna: Browser, device: Device, flags: int) -> None:
    device.flags = flags
    assert enter(anna, device.get(begin(anna), ORIGIN)) == 401
    assert add(anna, Device(flags=flags))[0] == 401


def test_a_copied_device_is_noticed(anna: Browser, device: Device) -> None:
    thief = copy.copy(device.keys[0])
    assert enter(anna, device.get(begin(anna), ORIGIN)) == 201
    assert enter(anna, Device().get(begin(anna), ORIGIN, thief)) == 401
    assert enter(anna, device.get(begin(anna), ORIGIN)) == 201


def test_a_key_of_ones_own_making_is_nobodys(anna: Browser, device: Device) -> None:
    """The right id, another private key; the right key, another user's handle."""
    forged = Device()
    forged.create({"publicKey": {"rp": {"id": "hive.example"}, "user": {"id": ""}, "challenge": ""}}, ORIGIN)
    forged.keys[0].id, forged.keys[0].count = device.keys[0].id, 99
    assert enter(anna, forged.get(begin(anna), ORIGIN)) == 401
    device.keys[0].user = secrets.token_bytes(16)
    assert enter(anna, device.get(begin(anna), ORIGIN)) == 401


def test_weak_keys_are_not_taken(anna: Browser) -> None:
    assert add(anna, Device(algorithm=-65535))[0] == 401


def test_a_passkey_is_made_by_its_user_alone_and_soon_after_signing_in(anna: Browser) -> None:
    anna.running.access.users.create("root", "admin", PASSWORD)
    root = Browser(anna.running)
    root.sign_in("root")
    assert root("POST", "/v1/users/anna/passkeys/begin", {})[0] == 403
    assert anna.running.request("POST", "/v1/users/anna/passkeys/begin", {})[0] == 403
    options = anna("POST", "/v1/users/anna/passkeys/begin", {})[2]
    credential = Device().create(options, ORIGIN)
    assert root("POST", "/v1/users/root/passkeys", {"name": "x", "credential": credential})[0] == 401
    (session,) = anna.running.access.sessions.all("anna")
    session.created -= FRESH + 1
    assert anna("POST", "/v1/users/anna/passkeys/begin", {})[0] == 403
    assert anna("POST", "/v1/users/anna/passkeys", {"name": "x", "credential": credential})[0] == 403


def test_a_challenge_for_one_thing_is_none_for_another(anna: Browser, device: Device) -> None:
    made = anna("POST", "/v1/users/anna/passkeys/begin", {})[2]
    made["publicKey"]["rpId"] = "hive.example"
    assert enter(anna, device.get(made, ORIGIN)) == 401


@pytest.mark.parametrize("host", ["192.0.2.1:8443", "[2001:db8::1]:8443", "192.0.2.1"])
def test_a_page_without_a_name_offers_none(running: Running, host: str) -> None:
    browser = Browser(running, host=host)
    status, _, problem = browser("POST", "/v1/sessions/passkey/begin", {})
    assert (status, "open Skep by its host name" in problem["detail"]) == (422, True)


def test_localhost_without_tls_has_passkeys(running: Running) -> None:
    running.access.users.create("anna", "viewer", PASSWORD)
    browser, device = Browser(running, host="localhost:8080", scheme="http"), Device()
    browser.sign_in("anna")
    assert add(browser, device, "http://localhost:8080")[0] == 201
    assert enter(browser, device.get(begin(browser), "http://localhost:8080")) == 201


def test_an_account_that_is_held_back_still_opens_to_its_passkey(anna: Browser, device: Device) -> None:
    for number in range(9):
        Browser(anna.running, f"198.51.100.{number}").sign_in("anna", "wrong password")
    other = Browser(anna.running, "198.51.100.99")
    assert other.sign_in("anna")[0] == 429
    assert enter(other, device.get(begin(other), ORIGIN)) == 201


# --- whatever a browser may send --------------------------------------------------------------------------------

PAGE = Page(ORIGIN, "hive.example")
_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40) | st.binary(max_size=80).map(websafe_encode),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=8,
)
_PLACES = [
    *(("id",), ("rawId",), ("type",), ("clientExtensionResults",), ("response",), ("response", "clientDataJSON")),
    *(("response", "authenticatorData"), ("response", "signature"), ("response", "userHandle")),
    ("response", "attestationObject"),
]

_PROOF = ("clientDataJSON", "authenticatorData", "signature", "attestationObject")


def _world() -> tuple[Access, Passkeys, Device]:
    access, device = Access(), Device()
    user = access.users.create("anna", "viewer", None)
    made = device.create(access.passkeys.begin_registration(PAGE, user), ORIGIN)
    access.passkeys.finish_registration(PAGE, user, "key", made)
    return access, access.passkeys, device


@given(st.sampled_from(_PLACES), _junk)
@settings(max_examples=300, deadline=None)
def test_no_answer_of_a_browser_is_more_than_refused(place: tuple[str, ...], junk: Any) -> None:
    access, passkeys, device = _world()
    user = access.users.get("anna")
    right = device.get(passkeys.begin_sign_in(PAGE), ORIGIN)
    new = Device().create(passkeys.begin_registration(PAGE, user), ORIGIN)
    for credential, finish in (
        (right, lambda given: passkeys.finish_sign_in(PAGE, given)),
        (new, lambda given: passkeys.finish_registration(PAGE, user, "another", given)),
    ):
        changed = copy.deepcopy(credential)
        inner = changed["response"] if len(place) == 2 else changed
        proves = place[-1] in _PROOF and inner.get(place[-1]) not in (None, junk)
        inner[place[-1]] = junk
        try:
            finish(changed)
        except Denied:
            continue
        assert not proves


def test_a_flood_of_beginnings_costs_no_memory() -> None:
    made = Challenges()
    first = made.make("p")
    for _ in range(10_000):
        made.make("p")
    assert made._used == {}
    assert made.holds(first, "p")
    assert not made.holds(first, "q")
    assert not made.holds(first[:-1], "p")
    assert not made.holds(b"", "p")
    assert not Challenges().holds(first, "p")
    assert [made.use(first), made.use(first)] == [True, False]


def test_used_challenges_are_forgotten_once_they_hold_no_more() -> None:
    now = [0.0]
    made = Challenges(lambda: now[0])
    for _ in range(50):
        now[0] += challenges.LIFE + 1
        assert made.use(made.make("p"))
    assert len(made._used) == 1


def test_keys_of_two_users_do_not_mix() -> None:
    access, passkeys, device = _world()
    eve, hers = access.users.create("eve", "viewer", None), Device()
    made = hers.create(passkeys.begin_registration(PAGE, eve), ORIGIN)
    passkeys.finish_registration(PAGE, eve, "key", made)
    assert passkeys.finish_sign_in(PAGE, hers.get(passkeys.begin_sign_in(PAGE), ORIGIN)).name == "eve"
    stolen = Key(PAGE.place, bytes.fromhex(access.users.get("anna").id), hers.keys[0].private, device.keys[0].id, 99)
    with pytest.raises(Denied):
        passkeys.finish_sign_in(PAGE, hers.get(passkeys.begin_sign_in(PAGE), ORIGIN, stolen))
    with pytest.raises(Exception, match="here already"):
        passkeys.finish_registration(
            PAGE, eve, "again", _again(hers, passkeys.begin_registration(PAGE, access.users.get("eve")), device.keys[0])
        )


def _again(device: Device, options: dict[str, Any], there: Key) -> dict[str, Any]:
    """A new key that claims an id which somebody else's has."""
    made = device.create(options, ORIGIN)
    old, new = device.keys[-1].id, there.id
    from fido2.utils import websafe_decode

    attestation = websafe_decode(made["response"]["attestationObject"]).replace(old, new)
    made["response"]["attestationObject"] = websafe_encode(attestation)
    return {**made, "id": websafe_encode(new), "rawId": websafe_encode(new)}
