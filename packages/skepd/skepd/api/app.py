"""The ASGI application: authorises, decodes, calls the engine in a thread, encodes. Handlers know none of this."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from skep.wire import ChangeQuery, WaitQuery
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as StarletteRoute

from skepd.engine.contract import Engine, Operation
from skepd.model.desired import KIND_OF
from skepd.plan.steps import Plan

from . import decode, objects, records, site, streams
from .admit import admit
from .authorise import Authoriser
from .problems import ApiError, response, translate
from .route import Answer, Call, Route, Trace
from .routes import ROUTES
from .service import Service
from .tokens import TokenStore
from .visitor import cookie

BODY_LIMIT = 6 << 20
"""Bytes of a request's body: the longest site definition (4 MiB), JSON escapes included."""
STRANGERS_LIMIT = 64 << 10
"""The same for who has not shown a credential yet."""
BODY_TIMEOUT = 30.0
JSON = "application/json"
SLICE = 2.0
"""Seconds that a waiting request holds a thread before others get their turn."""

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(engine: Engine, tokens: TokenStore, authoriser: Authoriser) -> Starlette:
    """The API over an engine. Nothing is started before the first request."""
    service = Service(engine, tokens, authoriser)
    by_path: dict[str, dict[str, Endpoint]] = defaultdict(dict)
    for route in ROUTES:
        by_path[route.path][route.method] = partial(_endpoint, service, route)
    special = streams.endpoints(service)
    routes: list[BaseRoute] = [
        StarletteRoute(path, special.get(path) or _by_method(methods), methods=list(methods))
        for path, methods in by_path.items()
    ]
    routes += streams.websocket_routes(service)
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_exception})
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _by_method(methods: dict[str, Endpoint]) -> Endpoint:
    async def dispatch(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return dispatch


async def _endpoint(service: Service, route: Route, request: Request) -> Response:
    trace = Trace()
    try:
        return await _answer(service, route, request, trace)
    except Exception as error:  # noqa: BLE001 - the one place where every error becomes an answer
        problem = translate(error)
        await records.refused(service, route, request, trace, problem.status)
        return response(problem)


async def _answer(service: Service, route: Route, request: Request, trace: Trace) -> Response:
    came, caller = await service.workers.call(admit, service, route, request, trace)
    query: Any = decode.query(request.query_params.multi_items(), route.query)
    call = Call(
        engine=service.engine,
        tokens=service.tokens,
        access=service.access,
        known=caller,
        came=came,
        secret=cookie(request, came.scheme),
        trace=trace,
        consoles=service.consoles,
        tickets=service.tickets,
        params=request.path_params,
        query=query,
        body=await _body(route, request, query),
        headers=request.headers,
    )
    assert route.handler is not None
    result = await (service.workers.call if caller else service.workers.stranger)(route.handler, call)
    if isinstance(result, Plan):
        result = Answer(site.plan_to_wire(result))  # nothing was done, so nothing is said of it in the audit log
    else:
        await records.done(service, route, request, trace, result)
    if isinstance(result, Operation) or isinstance(result.content, Operation):
        return await _operation(service, request, query, result)
    content = result.content
    if content is not None and not isinstance(content, bytes):
        content = msgspec.json.encode(content)
    media = route.media if content is not None and "Content-Type" not in result.headers else None
    return Response(content, result.status, dict(result.headers), media)


async def _operation(service: Service, request: Request, query: Any, result: Operation | Answer) -> Response:
    """202 for work under way, 200 for work that has ended (or that was only asked about)."""
    asked = isinstance(result, Answer)
    operation: Operation = result.content if isinstance(result, Answer) else result
    deadline = asyncio.get_running_loop().time() + (query.wait if isinstance(query, WaitQuery) else 0)
    while operation.state in ("queued", "running"):
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0 or await request.is_disconnected():
            break
        operation = await service.workers.wait(service.engine.wait, operation.id, min(left, SLICE))
    status = 200 if asked or operation.ended else 202
    return Response(
        msgspec.json.encode(operation), status, {"Location": f"/v1/operations/{operation.id}"}, "application/json"
    )


async def _body(route: Route, request: Request, query: Any) -> Any:
    if route.body is None:
        return None
    media = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if media == objects.TOML and route.body in KIND_OF and isinstance(query, ChangeQuery):
        kind, name = KIND_OF[route.body], request.path_params["name"]
        if route.method == "PATCH":
            return objects.load_text(await _read(request), name, query.file)
        return objects.decode_text(await _read(request), kind, name, query.manager, query.file)
    definition = route.method == "PATCH" and route.body in KIND_OF
    if media != JSON or definition:
        wanted = objects.TOML if definition else JSON
        raise ApiError(415, f"the body is {media or 'of no type'}", f"send {wanted}")
    raw = decode.parse(await _read(request, STRANGERS_LIMIT if route.role is None else BODY_LIMIT) or b"{}")
    if route.body in KIND_OF:
        manager = query.manager if isinstance(query, ChangeQuery) else "user"
        return objects.decode_object(raw, route.body, request.path_params["name"], manager)
    return decode.convert(raw, route.body)


async def _read(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """The whole body, within its limit and BODY_TIMEOUT."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    length = f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"
                    raise ApiError(413, f"the body is longer than {length}", headers={"Connection": "close"})
                parts.append(part)
    except TimeoutError:
        raise ApiError(
            408, f"the body did not arrive within {BODY_TIMEOUT:.0f} s", headers={"Connection": "close"}
        ) from None
    return b"".join(parts)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return response(ApiError(404, f"there is nothing at {request.url.path}", "docs/openapi.json lists every path"))
    if error.status_code == 405:
        return response(
            ApiError(405, f"{request.method} has no meaning at {request.url.path}", "", error.headers or {})
        )
    return response(ApiError(error.status_code, str(error.detail), "", error.headers or {}))
