"""What stays open: events (WebSocket, SSE); consoles and screens are in `consoles.local`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from skep.consoles import ConsoleQuery, ScreenQuery
from skep.wire import EventsQuery
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from skepd.engine.contract import Event
from skepd.model.names import Kind, Ref

from . import decode, moving
from .authorise import require
from .consoles import local
from .consoles.local import first
from .lasting import SESSION_ENDED, while_valid
from .problems import ApiError, response, translate
from .routes import ROUTES
from .service import Service
from .subprotocol import SUBPROTOCOL

Endpoint = Callable[[Request], Awaitable[Response]]
Stream = Callable[[Service, WebSocket], Awaitable[None]]
RECEIVE = "/v1/guests/{name}/replica/{snapshot}"


def endpoints(service: Service) -> dict[str, Endpoint]:
    """Plain HTTP at the paths that mainly stream."""
    (receiving,) = (route for route in ROUTES if route.path == RECEIVE)
    return {
        "/v1/events": partial(_events_http, service),
        "/v1/guests/{name}/console": partial(_upgrade_required, service, ConsoleQuery),
        "/v1/guests/{name}/screen": partial(_upgrade_required, service, ScreenQuery),
        "/v1/guests/{name}/snapshots/{snapshot}/stream": partial(moving.send, service),
        RECEIVE: partial(moving.receive, service, receiving),
    }


def websocket_routes(service: Service) -> list[WebSocketRoute]:
    table: dict[str, Stream] = {
        "/v1/events": _events_socket,
        "/v1/guests/{name}/console": partial(local.serve, kind="serial"),
        "/v1/guests/{name}/screen": partial(local.serve, kind="screen"),
    }
    return [WebSocketRoute(path, partial(_guarded, service, stream)) for path, stream in table.items()]


async def _guarded(service: Service, stream: Stream, websocket: WebSocket) -> None:
    """Runs a stream; an error before the handshake is answered as over plain HTTP."""
    try:
        await stream(service, websocket)
    except WebSocketDisconnect:
        return
    except Exception as error:  # noqa: BLE001 - the one place where every error becomes an answer
        problem = translate(error)
        if websocket.application_state.name == "CONNECTING":
            await websocket.send_denial_response(response(problem))
        elif websocket.application_state.name == "CONNECTED":
            await websocket.close(1011, problem.detail[:100])


async def _admit(service: Service, websocket: WebSocket, role: Any, query: type) -> Any:
    caller = await service.workers.call(service.authoriser.caller, websocket)
    require(caller, role)
    asked: Any = decode.query(websocket.query_params.multi_items(), query)
    return asked


async def _accept(websocket: WebSocket) -> None:
    offered = websocket.scope.get("subprotocols", ())
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)


async def _upgrade_required(service: Service, query: type, request: Request) -> Response:
    try:
        await service.workers.call(service.authoriser.caller, request)
        decode.query(request.query_params.multi_items(), query)
        await service.workers.call(service.engine.view, Ref(Kind.GUEST, request.path_params["name"]))
    except Exception as error:  # noqa: BLE001 - every error becomes an answer
        return response(translate(error))
    return response(
        ApiError(426, "this is a WebSocket", "`skep guest console NAME` speaks it", {"Upgrade": "websocket"})
    )


# --- events -----------------------------------------------------------------------------------------------------


async def _events_http(service: Service, request: Request) -> Response:
    try:
        caller = await service.workers.call(service.authoriser.caller, request)
        require(caller, "viewer")
        query = decode.query(request.query_params.multi_items(), EventsQuery)
        if "text/event-stream" not in request.headers.get("accept", ""):
            past = await service.hub.past(query.after, query.limit)
            return Response(msgspec.json.encode(past), media_type="application/json")
        after = _last_event(request, query.after)
    except Exception as error:  # noqa: BLE001 - every error becomes an answer
        return response(translate(error))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_event_stream(service, request, after), headers=headers, media_type="text/event-stream")


def _last_event(request: Request, after: int) -> int:
    """A browser that comes back says what it saw last."""
    seen = request.headers.get("last-event-id", "")
    return int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 19 else after


async def _event_stream(service: Service, request: Request, after: int) -> AsyncIterator[bytes]:
    async with service.hub.following(after) as batches:
        yield b": skep\n\n"
        async for batch in while_valid(service, request, batches):
            yield b"".join(map(_sse, batch)) if batch else b":\n\n"


def _sse(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.kind.encode(), msgspec.json.encode(event))


async def _events_socket(service: Service, websocket: WebSocket) -> None:
    query: EventsQuery = await _admit(service, websocket, "viewer", EventsQuery)
    async with service.hub.following(query.after) as batches:
        await _accept(websocket)
        await first(_send_events(websocket, while_valid(service, websocket, batches)), _until_closed(websocket))


async def _send_events(websocket: WebSocket, batches: AsyncIterator[list[Event]]) -> None:
    async for batch in batches:
        for event in batch:
            await websocket.send_text(msgspec.json.encode(event).decode())
    await websocket.close(SESSION_ENDED, "the session has ended")


async def _until_closed(websocket: WebSocket) -> None:
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
