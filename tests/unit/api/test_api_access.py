"""Who gets in: peers of the unix socket by uid and group, everybody else by token."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from running_api import Running
from skepd.api import peers
from skepd.api.authorise import Account, look_up
from skepd.api.tokens import TokenStore


@pytest.fixture
def peer(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The server, which now takes the test for uid 4711, in the groups that the test says."""
    monkeypatch.setattr(peers, "peer_uid", lambda sock: 4711)
    return running


def test_the_kernel_says_who_calls(running: Running) -> None:
    with running.connect() as connection:
        assert peers.peer_uid(connection) == os.geteuid()
    me = running.request("GET", "/v1/users/me")[2]
    assert (me["role"], me["via"]) == ("admin", "socket")


@pytest.mark.parametrize(
    ("groups", "allowed"),
    [
        ({"skep"}, (200, 200, 200)),
        ({"skep-operator", "wheel"}, (200, 200, 403)),
        ({"skep-viewer"}, (200, 403, 403)),
        ({"wheel"}, (403, 403, 403)),
        (set(), (403, 403, 403)),
    ],
)
def test_roles_by_group(peer: Running, groups: set[str], allowed: tuple[int, ...]) -> None:
    peer.accounts[4711] = Account("eva", frozenset(groups))
    calls = (("GET", "/v1/guests"), ("POST", "/v1/guests/web/actions/start"), ("PUT", "/v1/guests/new"))
    assert tuple(peer.request(method, path, {})[0] for method, path in calls) == allowed


def test_the_gateway_has_no_role_of_its_own(peer: Running) -> None:
    peer.accounts[4711] = Account("skepgw", frozenset({"skep", "skep-operator"}))
    status, headers, problem = peer.request("GET", "/v1/guests")
    assert (status, problem["detail"]) == (401, "no token was given")
    assert headers["www-authenticate"].startswith("Bearer")
    token = peer.tokens.create("ci", "viewer")
    me = peer.request("GET", "/v1/users/me", Authorization=f"Bearer {token.secret}")[2]
    assert me == {"name": "ci", "role": "viewer", "via": "token"}


def test_a_token_that_is_given_decides_alone(running: Running) -> None:
    """Also for a peer who would be admin: a wrong token is never made good by who connects."""
    viewer = running.tokens.create("ci", "viewer")
    assert running.request("PUT", "/v1/guests/new", {}, Authorization=f"Bearer {viewer.secret}")[0] == 403
    other = viewer.secret[:-1] + ("A" if viewer.secret[-1] != "A" else "B")
    for wrong in (f"Bearer {other}", "Bearer ", "Basic cm9vdDo=", "Bearer skep-", f"Bearer {viewer.id}"):
        assert running.request("GET", "/v1/guests", Authorization=wrong)[0] == 401


def test_tokens_are_made_listed_and_revoked(running: Running) -> None:
    status, headers, created = running.request("POST", "/v1/tokens", {"name": "ci", "role": "operator"})
    assert (status, headers["location"]) == (201, f"/v1/tokens/{created['id']}")
    (listed,) = running.request("GET", "/v1/tokens")[2]
    assert listed == {key: created[key] for key in ("id", "name", "role", "created")}
    bearer = f"Bearer {created['secret']}"
    assert running.request("GET", "/v1/guests", Authorization=bearer)[0] == 200
    assert running.request("POST", "/v1/tokens", {"name": "x", "role": "admin"}, Authorization=bearer)[0] == 403
    assert running.request("DELETE", headers["location"])[0] == 204
    assert running.request("DELETE", headers["location"])[0] == 404
    assert running.request("GET", "/v1/guests", Authorization=bearer)[0] == 401
    assert running.request("POST", "/v1/tokens", {"name": "x", "role": "king"})[0] == 400
    assert running.request("POST", "/v1/tokens", {"name": "a b", "role": "viewer"})[0] == 400


def test_the_token_file_outlives_the_process_and_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    created = TokenStore(path).create("ci", "viewer")
    assert path.stat().st_mode & 0o777 == 0o600
    assert created.secret.split("-", 2)[2] not in path.read_text()
    found = TokenStore(path).check(created.secret)
    assert found is not None
    assert found.id == created.id
    path.write_text('[{"id": 1}]')
    with pytest.raises(ValueError, match=r"tokens\.json: not a file of tokens"):
        TokenStore(path)


def test_accounts_are_looked_up() -> None:
    root = look_up(0)
    assert root.name == "root"
    assert root.groups
    assert look_up(4_000_000_000).groups == frozenset()
