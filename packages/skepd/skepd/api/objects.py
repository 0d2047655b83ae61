"""Handlers of everything that has a definition: list, show, put, delete. The same code for each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from skep.readings import GuestDisk
from skep.wire import ChangeQuery, Definitions, PullRequest

from skepd.engine.contract import Conflict, Operation, Unknown, View
from skepd.model import definitions
from skepd.model.desired import KIND_OF, ref_of
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Image, Object
from skepd.model.schema import Source
from skepd.plan.steps import Plan

from . import decode
from .problems import ApiError
from .route import Answer, Call, Handler

TOML = "application/toml"
SEVERAL = (Kind.NETWORK, Kind.FILTER, Kind.PORT, Kind.ROUTER, Kind.GUEST)
TYPE_OF = {kind: shape for shape, kind in KIND_OF.items()}
READ_ONLY = ("etag", "status", "manager")
"""Keys that answers have and requests may carry back; the manager is the caller's (query `manager`)."""


def to_wire(view: View) -> dict[str, Any]:
    """The object's fields, its etag and its status."""
    fields: dict[str, Any] = msgspec.to_builtins(view.object)
    return {**fields, "etag": view.etag, "status": view.status}


def decode_object(raw: Any, wanted: type, name: str, manager: str) -> Any:
    """A definition from a body. The name comes from the path; a body that says another is an error."""
    if not isinstance(raw, dict):
        raise ApiError(400, "body: expected an object", f"send the fields of a {wanted.__name__.lower()} as JSON")
    if raw.get("name", name) != name:
        raise ApiError(400, f"body: name is {raw['name']!r}, the path says {name!r}", "a name cannot be changed")
    fields = {key: value for key, value in raw.items() if key not in READ_ONLY}
    return definitions.validate(decode.convert({**fields, "name": name, "manager": manager}, wanted))


def load_text(body: bytes, name: str, file: str) -> tuple[dict[str, Any], Source]:
    """A definition, or some keys of one, as TOML, with the place of each key."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ApiError(400, f"{file} is not UTF-8 text") from None
    table, source = definitions.load(text, file)
    if table.get("name", name) != name:
        raise ApiError(400, f"{file}: name is {table['name']!r}, the path says {name!r}", "a name cannot be changed")
    return table, source


def decode_text(body: bytes, kind: Kind, name: str, manager: str, file: str) -> Any:
    """A definition as TOML, as skepd itself keeps it; errors name `file` and the line."""
    table, source = load_text(body, name, file)
    return definitions.object_from_data(kind, {**table, "name": name, "manager": manager}, source)


def lister(kind: Kind) -> Handler:
    return lambda call: Answer([to_wire(view) for view in call.engine.views(kind.value)])


def getter(kind: Kind) -> Handler:
    def get(call: Call) -> Answer:
        view = call.engine.view(Ref(kind, call.name))
        if TOML in call.headers.get("accept", ""):
            text = definitions.render_object(view.object).encode()
            return Answer(text, headers={"ETag": f'"{view.etag}"', "Content-Type": TOML})
        return Answer(to_wire(view), headers={"ETag": f'"{view.etag}"'})

    return get


def putter(kind: Kind) -> Handler:
    def put(call: Call) -> Operation | Plan:
        query, ref = call.query_as(ChangeQuery), Ref(kind, call.name)
        etag = precondition(call, ref)
        try:
            return _put(call)(call.body, manager=Manager(query.manager), etag=etag, take_over=query.take_over)
        except Conflict as error:
            raise _conflict(call, ref, etag, error) from error

    return put


def patcher(kind: Kind) -> Handler:
    """Keys of the definition that change; tables are merged, everything else is replaced."""

    def patch(call: Call) -> Operation | Plan:
        query, ref = call.query_as(ChangeQuery), Ref(kind, call.name)
        view = call.engine.view(ref)
        precondition(call, ref)
        changes, source = call.body
        merged = _merge(definitions.object_to_data(view.object), changes)
        named = {**merged, "name": call.name, "manager": query.manager}
        value = definitions.object_from_data(kind, named, source)
        try:
            return _put(call)(value, manager=Manager(query.manager), etag=view.etag, take_over=query.take_over)
        except Conflict as error:
            raise _conflict(call, ref, view.etag, error) from error

    return patch


def deleter(kind: Kind) -> Handler:
    def delete(call: Call) -> Operation | Plan:
        query, ref = call.query_as(ChangeQuery), Ref(kind, call.name)
        etag = precondition(call, ref)
        delete_ = call.engine.plan_delete if query.dry_run else call.engine.delete
        try:
            return delete_(ref, manager=Manager(query.manager), etag=etag, take_over=query.take_over)
        except Conflict as error:
            raise _conflict(call, ref, etag, error) from error

    return delete


def _put(call: Call) -> Callable[..., Operation | Plan]:
    return call.engine.plan_put if call.query_as(ChangeQuery).dry_run else call.engine.put


def precondition(call: Call, ref: Ref) -> str | None:
    """The etag the engine must find, from If-Match or If-None-Match: *. Raises ApiError 412 if it does not hold."""
    if_match, if_none = call.headers.get("if-match"), call.headers.get("if-none-match")
    if if_none is not None:
        if if_none.strip() != "*":
            raise ApiError(400, "If-None-Match: only * has a meaning here", "use If-Match: ETAG to change an object")
        if _etag(call, ref) is not None:
            raise ApiError(412, f"{ref} exists already", "leave If-None-Match out to change it")
        return "*"
    if if_match is None:
        return None
    current = _etag(call, ref)
    wanted = {tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")}
    if current is None or (current not in wanted and "*" not in wanted):
        raise _changed(ref, current)
    return current


def define(call: Call) -> Operation | Plan:
    """Several definitions as one change: a guest together with the ports that it is connected by."""
    request, query = call.body_as(Definitions), call.query_as(ChangeQuery)
    fresh = call.headers.get("if-none-match", "").strip() == "*"
    values = [_named(raw, kind, query.manager, fresh) for kind in SEVERAL for raw in getattr(request, f"{kind.value}s")]
    if not values:
        raise ApiError(400, "body: there is no definition in it", "give at least one of guests, ports, networks, ...")
    put = call.engine.plan_put_all if query.dry_run else call.engine.put_all
    try:
        return put(values, manager=Manager(query.manager), take_over=query.take_over)
    except Conflict as error:
        there = fresh and any(_etag(call, ref_of(value)) is not None for value, _ in values)
        raise ApiError(412 if there else 409, str(error), _hint(call, error)) from error


def _named(raw: dict[str, Any], kind: Kind, manager: str, fresh: bool) -> tuple[Object, str | None]:
    """A definition that says its own name, and the etag that the object must have."""
    name, etag = raw.get("name"), raw.get("etag")
    if not isinstance(name, str) or not isinstance(etag, str | None):
        raise ApiError(400, f"body: a {kind.value} has no name, or an etag that is no text", "give each its name")
    return decode_object(raw, TYPE_OF[kind], name, manager), "*" if fresh else etag


def pull_image(call: Call) -> Operation | Plan:
    request, query = call.body_as(PullRequest), call.query_as(ChangeQuery)
    manager = Manager(query.manager)
    if query.dry_run:
        image = Image(name=call.name, version=request.version, sources=request.sources, manager=manager)
        return call.engine.plan_put(image, manager=manager)
    return call.engine.pull_image(call.name, request.version, request.sources, manager=manager)


def disks(call: Call) -> Answer:
    """Every disk of every guest; its status is what the guest's status says under `disks`."""
    found = []
    for view in call.engine.views(Kind.GUEST.value):
        definition = msgspec.to_builtins(view.object)
        states = view.status.get("disks", {})
        found += [_disk(definition["name"], disk, states) for disk in definition["disks"]]
    return Answer(found)


def _disk(guest: str, disk: dict[str, Any], states: dict[str, Any]) -> GuestDisk:
    plain = {key: disk[key] for key in ("name", "size", "image", "edition", "format")}
    return GuestDisk(guest=guest, status=states.get(disk["name"], {}), **plain)


def _merge(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(before)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _etag(call: Call, ref: Ref) -> str | None:
    try:
        return call.engine.view(ref).etag
    except Unknown:
        return None


def _changed(ref: Ref, current: str | None) -> ApiError:
    if current is None:
        return ApiError(412, f"{ref} does not exist (any more)", "leave If-Match out to create it")
    return ApiError(412, f"{ref} changed since you read it", "read it again and repeat the change")


def _conflict(call: Call, ref: Ref, etag: str | None, error: Conflict) -> ApiError:
    """412 if what the caller required no longer holds (somebody was faster), otherwise 409."""
    if etag is not None:
        current = _etag(call, ref)
        if current != (None if etag == "*" else etag):
            return _changed(ref, current)
    return ApiError(409, str(error), _hint(call, error))


def _hint(call: Call, error: Conflict) -> str:
    if not call.query.take_over and "manage" in str(error):
        return "take_over=true (--take-over) takes it over from its manager"
    return ""
