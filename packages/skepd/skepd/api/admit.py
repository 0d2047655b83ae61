"""The first step of every call over plain HTTP: where it comes from, who sent it, and whether he may."""

from __future__ import annotations

from starlette.requests import Request

from .authorise import Caller, admit_stranger, require
from .route import Route, Trace
from .service import Service
from .visitor import Visitor


def admit(service: Service, route: Route, request: Request, trace: Trace) -> tuple[Visitor, Caller | None]:
    """Where the request comes from and who sent it, None on a public route. Raises ApiError, LockedOut."""
    came = service.authoriser.visitor(request)
    trace.peer = came.peer
    if route.role is None:
        admit_stranger(service.access, request, came)
        return came, None
    caller = service.authoriser.caller(request)
    trace.who, trace.via, trace.proven = caller.name, caller.via, True
    require(caller, route.role)
    return came, caller
