"""Handlers about signing in and out: the first link, passwords, sessions."""

from __future__ import annotations

from skep import wire

from skepd.access.access import Entry
from skepd.access.sessions import Session

from .problems import ApiError
from .route import Answer, Call
from .visitor import set_cookie

NO_STORE = {"Cache-Control": "no-store"}


def setup_state(call: Call) -> Answer:
    return Answer(wire.SetupState(open=call.access.users.link_open()), headers=NO_STORE)


def set_up(call: Call) -> Answer:
    request = call.body_as(wire.Setup)
    call.trace.via = "link"
    entry = call.access.set_up(
        request.secret, request.name, request.password, call.came.network, call.came.peer, call.came.agent
    )
    return welcome(call, entry)


def make_link(call: Call) -> Answer:
    """Only who is on the host: a link is for the day when nobody can sign in any more."""
    if call.caller.via != "socket":
        raise ApiError(403, "such a link is made on the host only", "run `skep user link` there")
    secret, expires = call.access.users.new_link()
    return Answer(wire.SetupLink(url=call.access.link(secret), expires=expires), 201, NO_STORE)


def sign_in(call: Call) -> Answer:
    request = call.body_as(wire.SignIn)
    name = request.name.strip().lower()
    call.trace.via = "password"
    if call.access.users.find(name) is not None:
        call.trace.who = name  # tried, not proven; only then: people type passwords where names belong
    entry = call.access.sign_in(name, request.password, call.came.network, call.came.peer, call.came.agent)
    return welcome(call, entry)


def begin_passkey(call: Call) -> Answer:
    return Answer(wire.PasskeyOptions(**call.access.passkeys.begin_sign_in(call.came.page)), headers=NO_STORE)


def sign_in_by_passkey(call: Call) -> Answer:
    credential = call.body_as(wire.PasskeySignIn).credential
    call.trace.via = "passkey"
    entry = call.access.sign_in_by_passkey(
        call.came.page, credential, call.came.network, call.came.peer, call.came.agent
    )
    return welcome(call, entry)


def welcome(call: Call, entry: Entry) -> Answer:
    """Somebody got in: a new session always, and the one that his browser may have had ends."""
    call.trace.who, call.trace.proven = entry.user.name, True
    if call.secret:
        held = call.access.holder(call.secret)
        call.access.sessions.end([held[1]] if held else [], "signed in anew")
    caller = wire.Caller(name=entry.user.name, role=entry.user.role, via="session")
    return Answer(caller, 201, {**NO_STORE, "Set-Cookie": set_cookie(call.came.scheme, entry.secret)})


def sessions(call: Call) -> Answer:
    mine = None if call.caller.may("admin") else _own_name(call)
    found = []
    for one in call.access.sessions.all(mine):
        user = call.access.users.find(one.user)
        if user is not None and user.id == one.owner:
            found.append(_view(one, user.role, call.caller.key))
    return Answer(sorted(found, key=lambda view: -view.seen))


def end_session(call: Call) -> Answer:
    identity = call.params["id"]
    session = _session(call, identity)
    call.access.sessions.end([session], "signed out" if session.key == call.caller.key else "ended by an administrator")
    gone = {"Set-Cookie": set_cookie(call.came.scheme, "")} if session.key == call.caller.key else {}
    return Answer(None, 204, gone)


def current(call: Call) -> Session | None:
    """The session of the caller, if it is by one that he came."""
    return next((one for one in call.access.sessions.all() if one.key == call.caller.key), None)


def _session(call: Call, identity: str) -> Session:
    if identity == "current":
        session = current(call)
        if session is None:
            raise ApiError(404, f"you came by {call.caller.via}, not by a session", "nothing needs to be ended")
        return session
    mine = None if call.caller.may("admin") else _own_name(call)
    for one in call.access.sessions.all(mine):
        if one.id == identity:
            return one
    raise ApiError(404, f"there is no session {identity!r}", "it may have ended already")


def _own_name(call: Call) -> str:
    """Only who came by a session has any; a token or a group may have the name of somebody else's account."""
    return call.caller.name if call.caller.via == "session" else ""


def _view(one: Session, role: wire.Role, key: str) -> wire.SessionView:
    return wire.SessionView(
        id=one.id, user=one.user, role=role, created=one.created, seen=one.seen, peer=one.peer, agent=one.agent,
        current=one.key == key,
    )  # fmt: skip
