"""The audit log's side of a call: every one that changes something gets one record, whatever becomes of it."""

from __future__ import annotations

from skep import wire
from starlette.requests import Request

from skepd.engine.contract import Operation

from .route import Answer, Call, Route, Trace
from .service import Service


async def done(service: Service, route: Route, request: Request, trace: Trace, result: Answer | Operation) -> None:
    """Written before an operation is waited for: it is under way, whoever waits or not."""
    content = result.content if isinstance(result, Answer) else result
    if isinstance(content, wire.Plan):
        return  # it was only asked what would be done
    where = result.headers.get("Location", "") if isinstance(result, Answer) else ""
    outcome = f"operation {content.id}" if isinstance(content, Operation) else "done"
    await _write(service, route, trace, where or request.url.path, outcome)


async def refused(service: Service, route: Route, request: Request, trace: Trace, status: int) -> None:
    if not trace.written:
        word = "refused" if status < 500 else "failed"
        await _write(service, route, trace, request.url.path, f"{word} ({status})")


async def _write(service: Service, route: Route, trace: Trace, path: str, outcome: str) -> None:
    if not route.changes:
        return
    trace.written = True
    await service.workers.record(
        service.access.audit.write, who=trace.who, proven=trace.proven, via=trace.via, peer=trace.peer,
        ref=path.removeprefix("/v1/"), action=route.summary.rstrip("."), outcome=outcome,
    )  # fmt: skip


def audit(call: Call) -> Answer:
    """Handler: what was done, newest first."""
    query = call.query_as(wire.AuditQuery)
    return Answer(call.access.audit.read(query.before, query.limit))
