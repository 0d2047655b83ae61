"""Handlers about accounts. A user may see himself and change his own password; the rest is the administrators'."""

from __future__ import annotations

from skep import wire

from skepd.access.users import Passkey, User

from . import sessions
from .problems import ApiError
from .route import Answer, Call


def me(call: Call) -> Answer:
    return Answer(wire.Caller(name=call.caller.name, role=call.caller.role, via=call.caller.via))


def users(call: Call) -> Answer:
    return Answer([_view(call, user) for user in call.access.users.all()])


def user(call: Call) -> Answer:
    _require_self_or_admin(call)
    return Answer(_view(call, call.access.users.get(call.name)))


def create(call: Call) -> Answer:
    request = call.body_as(wire.NewUser)
    made = call.access.users.create(request.name, request.role, request.password)
    return Answer(_view(call, made), 201, {"Location": f"/v1/users/{made.name}"})


def change(call: Call) -> Answer:
    return Answer(_view(call, call.access.set_role(call.name, call.body_as(wire.UserChange).role)))


def delete(call: Call) -> Answer:
    call.access.remove(call.name)
    return Answer(None, 204)


def set_password(call: Call) -> Answer:
    """By himself, with the old one; or by an administrator, for others, or from the host's socket."""
    _require_self_or_admin(call)
    request = call.body_as(wire.NewPassword)
    wanted = call.access.users.get(call.name)
    session = sessions.current(call)
    if session is not None and session.owner == wanted.id:
        if wanted.password is None:
            call.access.require_fresh(session)
        elif request.old is None:
            raise ApiError(403, "your old password is needed", "send it as `old`")
        else:
            call.access.verify(wanted, request.old, call.came.peer)
    call.access.set_password(call.name, request.password, keep=session)
    return Answer(None, 204)


def begin_passkey(call: Call) -> Answer:
    user = _own(call)
    return Answer(
        wire.PasskeyOptions(**call.access.passkeys.begin_registration(call.came.page, user)), headers=sessions.NO_STORE
    )


def add_passkey(call: Call) -> Answer:
    request, user = call.body_as(wire.NewPasskey), _own(call)
    made = call.access.passkeys.finish_registration(call.came.page, user, request.name, request.credential)
    return Answer(_passkey(made), 201, {"Location": f"/v1/users/{user.name}/passkeys/{made.id}"})


def remove_passkey(call: Call) -> Answer:
    _require_self_or_admin(call)
    call.access.passkeys.remove(call.name, call.params["id"])
    return Answer(None, 204)


def _own(call: Call) -> User:
    """The caller's own account, in a session that has just begun: a key is made by whom it lets in, and nobody else."""
    session = sessions.current(call)
    if session is None or session.user != call.name:
        raise ApiError(403, "a passkey is made by the user himself, in the browser", "sign in as that user")
    call.access.require_fresh(session)
    return call.access.users.get(call.name)


def _require_self_or_admin(call: Call) -> None:
    own = call.caller.via == "session" and call.caller.name == call.name
    if not own and not call.caller.may("admin"):
        raise ApiError(403, f"{call.caller.name} is {call.caller.role}; others' accounts need admin")


def _view(call: Call, user: User) -> wire.UserView:
    keys = tuple(map(_passkey, user.passkeys))
    return wire.UserView(
        name=user.name, role=user.role, created=user.created, password=user.password is not None,
        locked=call.access.held_back(user), passkeys=keys,
    )  # fmt: skip


def _passkey(key: Passkey) -> wire.PasskeyView:
    return wire.PasskeyView(id=key.id, name=key.name, place=key.place, created=key.created, used=key.used)
