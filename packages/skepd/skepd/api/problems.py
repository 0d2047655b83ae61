"""Errors of the API as RFC 9457 problem details: what happened, to which object, what to do next."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec
from skep.wire import Place, Problem
from starlette.responses import Response

from skepd.access.errors import Clash, Denied, Forbidden, LockedOut, NoSuchUser, Unfit
from skepd.engine.contract import Conflict, DefinitionError, Refused, Unknown
from skepd.host import HostError

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("skepd.api")

HOST_STATUS = {
    "rejected": 422,
    "busy": 409,
    "missing": 409,
    "exists": 409,
    "conflict": 409,
    "full": 507,
    "unsupported": 422,
    "timeout": 504,
    "cancelled": 409,
    "lost": 503,
}
HOST_HINT = {
    "full": "free space on the host or add storage",
    "unsupported": "`skep doctor` shows what this host can do",
    "lost": "skep-helper went away; try again in a moment",
    "busy": "try again in a moment",
}


@dataclass
class ApiError(Exception):
    """An answer other than success."""

    status: int
    detail: str
    hint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[Place, ...] = ()


def translate(error: Exception) -> ApiError:
    """The answer for an exception of the engine. What is not an error of ours is logged and becomes 500."""
    match error:
        case ApiError():
            return error
        case DefinitionError():
            places = tuple(
                Place(detail=each.problem, hint=each.hint, file=each.file, line=each.line) for each in error.errors
            )
            return ApiError(400, error.problem, error.hint, errors=places)
        case Unknown():
            return ApiError(404, str(error.args[0] if error.args else "there is no such object"))
        case Conflict():
            return ApiError(409, str(error))
        case Refused():
            return ApiError(422, str(error))
        case NoSuchUser() | Clash() | Denied() | Forbidden() | LockedOut() | Unfit():
            return _of_access(error)
        case HostError():
            return ApiError(HOST_STATUS.get(error.code, 500), str(error), HOST_HINT.get(error.code, ""))
        case _:
            log.error("unexpected error in a request", exc_info=error)
            return ApiError(500, "skepd failed unexpectedly", "the reason is in skepd's log; please report it")


def _of_access(error: Exception) -> ApiError:
    match error:
        case NoSuchUser():
            return ApiError(404, str(error.args[0]))
        case Clash():
            return ApiError(409, str(error))
        case Denied():
            return ApiError(401, str(error), headers={"WWW-Authenticate": 'Bearer realm="skep"'})
        case LockedOut():
            seconds = math.ceil(error.seconds)
            hint = f"try again in {seconds} s; `skep user password` on the host works at once"
            return ApiError(429, str(error), hint, {"Retry-After": str(seconds)})
        case Forbidden():
            return ApiError(403, str(error))
        case _:
            return ApiError(422, str(error))


def response(error: ApiError) -> Response:
    problem = Problem(
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.detail,
        hint=error.hint,
        file=error.errors[0].file if error.errors else "",
        line=error.errors[0].line if error.errors else 0,
        errors=error.errors,
    )
    return Response(msgspec.json.encode(problem), error.status, dict(error.headers), MEDIA_TYPE)
