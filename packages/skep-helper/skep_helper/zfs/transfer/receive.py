"""Receiving: the stream's head is looked at first, then all of it is passed to `zfs receive`, which keeps what came.

It never overwrites (no -F) and never mounts. A stream of one snapshot carries no properties, and others are refused:
what a replica has of them is written here.
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from ...handlers import Context, Failure
from ...run import attempt
from ...streaming import streaming
from ...vocabulary import AbandonReceive, PartReading, ReceiveSnapshot, Rejected, ReplicaReading
from .. import layout, names
from ..tool import zfs
from . import failures, header, parts
from .send import check_channel

_TICK = 0.2
_CHUNK = 1 << 20
_INTERRUPTED = "an interrupted stream is there: resume it with the token that ReadReplica tells, or abandon it"
_NOTHING_TO_RESUME = "the stream goes on where another ended, and nothing of that is here: send it without a token"


def receive(context: Context, request: ReceiveSnapshot) -> None:
    (source,) = context.descriptors
    check_channel(source)
    policy, what = context.policy, f"snapshot {request.snapshot} of {parts.named(request.guest, request.disk)}"
    with ExitStack() as stack:
        stack.enter_context(layout.locked_guest(policy, request.guest, shared=True, progress=context.progress))
        stack.enter_context(layout.locked_disk(policy, request.guest, request.disk or "", context.progress))
        there = parts.read(policy, request.guest)
        part = parts.part_of(there, request.disk)
        _check_target(request, there)
        begun = read_head(context, source, request.size)
        head = header.parse(begun)
        dataset = parts.dataset(policy, request.guest, request.disk)
        if part is not None and any(point.guid == str(head.guid) for point in part.points):
            drain(context, source, request.size)
        else:
            _check_head(request, head, part, what)
            pass_on(context, source, begun, [*_options(request), dataset], what, request.size)
        # A stream of one snapshot has no properties of it either.
        zfs("set", *_marks(request), names.snapshot(dataset, request.snapshot))


def _check_target(request: ReceiveSnapshot, there: ReplicaReading) -> None:
    if there.parts and there.promoted_here:
        raise Failure(
            "conflict", f"guest {request.guest} is this host's own: receive under another name, or move it away first"
        )
    if request.disk is not None and not there.parts:
        raise Failure("missing", f"there is no guest {request.guest}: receive its folder first")


def _check_head(request: ReceiveSnapshot, head: header.Header, part: PartReading | None, what: str) -> None:
    kind = "filesystem" if request.disk is None else "volume"
    if head.kind != kind:
        raise Rejected(f"{what}: the stream is of a {head.kind}, wanted is a {kind}")
    if head.snapshot != f"{names.SNAPSHOT}{request.snapshot}":
        raise Rejected(f"{what}: the stream is of {head.name}")
    token = part.token if part is not None else ""
    if bool(token) != head.resumes:
        told = _INTERRUPTED if token else _NOTHING_TO_RESUME
        raise Failure("conflict", f"{what} was not received: {told}")


def _options(request: ReceiveSnapshot) -> list[str]:
    """Of zfs receive. readonly: a replica that somebody writes on takes no more changes."""
    if request.disk is None:
        marks = ["readonly=on", "canmount=noauto", f"skep:guest={request.guest}"]
    else:
        marks = ["readonly=on", f"skep:disk={request.edition}"]
        marks += [f"skep:image={request.image}:{request.version}"] if request.image and request.version else []
    return ["-s", *(word for mark in marks for word in ("-o", mark))]


def _marks(request: ReceiveSnapshot) -> tuple[str, ...]:
    frozen = "yes" if request.frozen else "no"
    return (f"skep:snapshot={request.snapshot}", f"skep:disks={','.join(request.disks)}", f"skep:frozen={frozen}")


def read_head(context: Context, source: int, size: int) -> bytes:
    """As much as tells what comes, or less when the stream ends before."""
    found = b""
    while len(found) < header.SIZE:
        context.progress(0, size)
        if select.select([source], [], [], _TICK)[0]:
            data = os.read(source, header.SIZE - len(found))
            if not data:
                break
            found += data
    return found


def pass_on(
    context: Context,
    source: int,
    begun: bytes,
    arguments: Sequence[str],
    what: str,
    size: int,
    digest: Callable[[bytes | memoryview], None] | None = None,
) -> None:
    """Let `zfs receive` have it. digest: gets all that passes. Raises Failure with what it refused."""
    with streaming(["zfs", "receive", "-u", *arguments], stdin=subprocess.PIPE) as tool:
        tool.feed(source, begun, lambda count: context.progress(count, max(size, count)), digest)
        for _ in tool.lines(lambda: context.progress(size, size)):
            """Its last words are kept."""
    if tool.status:
        raise failures.receiving(what, tool.told, tool.status)


def drain(context: Context, source: int, size: int) -> None:
    """It is here already: let the sender come to its end."""
    count = 0
    while True:
        context.progress(count, max(count, size))
        if select.select([source], [], [], _TICK)[0]:
            data = os.read(source, _CHUNK)
            if not data:
                return
            count += len(data)


def abandon(context: Context, request: AbandonReceive) -> None:
    policy = context.policy
    with layout.locked_guest(policy, request.guest, progress=context.progress):
        part = parts.part_of(parts.read(policy, request.guest), request.disk)
        if part is None or not part.token:
            return
        done = attempt(["zfs", "receive", "-A", parts.dataset(policy, request.guest, request.disk)])
    told = done.errors.decode(errors="replace")
    if done.status and "does not have any resumable" not in told:
        what = f"what was received of {parts.named(request.guest, request.disk)}"
        raise Failure("busy" if "busy" in told else "failed", f"{what} was not thrown away: zfs: {told.strip()}")
