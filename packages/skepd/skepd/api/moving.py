"""Guests that move between hosts: streams of their snapshots over HTTP, replicas, promotion."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from skep.moving import PartQuery, Promotion, ReceiveQuery, Replica, ReplicaPart, StreamPoint, StreamQuery
from skep_helper.vocabulary import ReceiveSnapshot, Rejected, SnapshotStream
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from skepd.engine.contract import Operation, Stream
from skepd.model.objects import Guest, Port

from . import decode, objects, records
from .admit import admit
from .authorise import require
from .problems import ApiError, response, translate
from .route import Answer, Call, Route, Trace
from .service import Service

CHUNK = 1 << 18
SIZE = "Skep-Size"
"""Header: about how long the stream will be."""


def replica(call: Call) -> Answer:
    try:
        found = call.engine.replica(call.name)
    except Rejected as error:
        raise ApiError(400, str(error)) from None
    parts = tuple(
        ReplicaPart(
            disk=part.disk,
            token=part.token,
            points=tuple(StreamPoint(name=p.name, guid=p.guid, kind=p.kind) for p in part.points),
        )
        for part in found.parts
    )
    return Answer(Replica(guest=found.guest, promoted=found.promoted_here, parts=parts))


def abandon(call: Call) -> Answer:
    try:
        call.engine.abandon_replica(call.name, call.query_as(PartQuery).disk)
    except Rejected as error:
        raise ApiError(400, str(error)) from None
    return Answer(None, 204)


def promote(call: Call) -> Operation:
    wanted = call.body_as(Promotion)
    guest = objects.decode_object(wanted.guest, Guest, call.name, "user")
    ports = []
    for fields in wanted.ports:
        name = fields.get("name")
        if not isinstance(name, str):
            raise ApiError(400, "ports: one has no name")
        ports.append(objects.decode_object(fields, Port, name, "user"))
    return call.engine.promote_replica(guest, tuple(ports))


async def send(service: Service, request: Request) -> Response:
    """A stream that fails on its way is cut: the caller sees that its end is missing."""
    try:
        query: StreamQuery = await _admit(service, request, StreamQuery)
        wanted = _checked(
            SnapshotStream, guest=request.path_params["name"], snapshot=request.path_params["snapshot"],
            disk=query.disk, base=query.base, raw=query.raw, token=query.token,
        )  # fmt: skip
        stream = await service.workers.call(service.engine.send_snapshot, wanted)
    except Exception as error:  # noqa: BLE001 - every error becomes an answer
        return response(translate(error))
    headers = {SIZE: str(stream.size), "Cache-Control": "no-store"}
    return StreamingResponse(_outgoing(service, stream), headers=headers, media_type="application/octet-stream")


async def receive(service: Service, route: Route, request: Request) -> Response:
    trace = Trace()
    try:
        await service.workers.call(admit, service, route, request, trace)
        query: ReceiveQuery = decode.query(request.query_params.multi_items(), ReceiveQuery)
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" not in request.headers and length == "0":
            raise ApiError(400, "there is no stream in the body", "send what a GET of .../stream answers")
        image, _, version = (query.image or "").partition(":")
        wanted = _checked(
            ReceiveSnapshot, guest=request.path_params["name"], snapshot=request.path_params["snapshot"],
            disk=query.disk, disks=tuple(word for word in query.disks.split(",") if word), frozen=query.frozen,
            size=int(length),
            edition=query.edition, image=image or None, version=version or None,
        )  # fmt: skip
        stream = await service.workers.call(service.engine.receive_snapshot, wanted)
        await _incoming(service, request, stream)
    except ClientDisconnect:
        await records.refused(service, route, request, trace, 400)
        return Response(status_code=400)
    except Exception as error:  # noqa: BLE001 - every error becomes an answer
        problem = translate(error)
        await records.refused(service, route, request, trace, problem.status)
        # What is left of the body is not waited for.
        problem.headers = {**problem.headers, "Connection": "close"}
        return response(problem)
    await records.done(service, route, request, trace, Answer(None, 204))
    return Response(status_code=204)


async def _admit(service: Service, request: Request, query: type) -> Any:
    caller = await service.workers.call(service.authoriser.caller, request)
    require(caller, "admin")
    return decode.query(request.query_params.multi_items(), query)


def _checked(kind: type, **fields: Any) -> Any:
    try:
        return kind(**fields)
    except Rejected as error:
        raise ApiError(400, str(error)) from None


async def _outgoing(service: Service, stream: Stream) -> AsyncIterator[bytes]:
    try:
        while data := await _read(stream.descriptor):
            yield data
    finally:
        # Also when the caller went away: then the host learns it here, and its refusal interests nobody.
        await asyncio.shield(service.workers.wait(stream.end))


async def _incoming(service: Service, request: Request, stream: Stream) -> None:
    try:
        async for data in request.stream():
            await _write(stream.descriptor, memoryview(data))
    except BrokenPipeError:
        pass  # the host refused it: `end` says why
    except BaseException:
        with contextlib.suppress(Exception):
            await asyncio.shield(service.workers.wait(stream.end))
        raise
    await service.workers.wait(stream.end)


async def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, CHUNK)
        except BlockingIOError:
            await _ready(descriptor, writing=False)


async def _write(descriptor: int, data: memoryview) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            await _ready(descriptor, writing=True)


async def _ready(descriptor: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    (loop.add_writer if writing else loop.add_reader)(descriptor, event.set)
    try:
        await event.wait()
    finally:
        (loop.remove_writer if writing else loop.remove_reader)(descriptor)
