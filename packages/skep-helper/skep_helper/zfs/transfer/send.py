"""Sending: `zfs send` writes to the caller's descriptor by itself; what it says about its progress is passed on."""

from __future__ import annotations

import os
import stat

from ...handlers import Context, Failure
from ...policy import Policy
from ...run import attempt
from ...streaming import streaming
from ...vocabulary import EstimateSend, Rejected, SendEstimate, SendSnapshot, SnapshotStream
from .. import names
from . import failures, output, parts


def estimate(context: Context, request: EstimateSend) -> SendEstimate:
    return SendEstimate(size=_prepare(context.policy, request.stream)[1])


def send(context: Context, request: SendSnapshot) -> None:
    (target,) = context.descriptors
    check_channel(target)
    arguments, total = _prepare(context.policy, request.stream)
    reached = [0]
    with streaming(["zfs", "send", "-vP", *arguments], stdout=target) as tool:
        for line in tool.lines(lambda: context.progress(reached[0], max(reached[0], total))):
            told = output.progress(line)
            if told is not None:
                reached[0] = told
    if tool.status:
        raise failures.sending(named(request.stream), tool.told, tool.status)


def named(stream: SnapshotStream) -> str:
    return f"snapshot {stream.snapshot} of {parts.named(stream.guest, stream.disk)}"


def check_channel(descriptor: int) -> None:
    """What data may go through; raises Rejected. A descriptor that does not wait would end the tool."""
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)):
        raise Rejected("a stream goes through a pipe, a socket or a file")
    os.set_blocking(descriptor, True)


def words(stream: SnapshotStream, dataset: str) -> list[str]:
    """The arguments of `zfs send` for this stream, without those that say how to report."""
    if stream.token is not None:
        return ["-t", stream.token]
    flags = ["-w"] if stream.raw else ["-Lec"] if stream.compressed else []
    mark = "@" if stream.base_kind == "snapshot" else "#"
    since = [] if stream.base is None else ["-i", f"{mark}{names.SNAPSHOT}{stream.base}"]
    return [*flags, *since, names.snapshot(dataset, stream.snapshot)]


def _prepare(policy: Policy, stream: SnapshotStream) -> tuple[list[str], int]:
    """(arguments, size in bytes); raises Failure when the stream cannot be sent."""
    dataset = parts.dataset(policy, stream.guest, stream.disk)
    arguments = words(stream, dataset)
    done = attempt(["zfs", "send", "-nvP", *arguments])
    told = done.output.decode(errors="replace").splitlines()
    if stream.token is not None:
        _check_token(stream, output.token(told), dataset)
    if done.status:
        lines = [*told, *done.errors.decode(errors="replace").splitlines()]
        raise failures.sending(named(stream), lines, done.status)
    return arguments, output.size(told)


def _check_token(stream: SnapshotStream, held: dict[str, str], dataset: str) -> None:
    """A token names what is sent: it must be this snapshot, or anybody could ask for any dataset of the pool."""
    if "toguid" not in held:
        return  # Corrupt, as the tool says by itself.
    snapshot = names.snapshot(dataset, stream.snapshot)
    done = attempt(["zfs", "get", "-Hp", "-o", "value", "guid", snapshot])
    if done.status:
        raise Failure("missing", f"{named(stream)} was not sent: {failures.STALE}")
    if int(done.output) != int(held["toguid"], 16):
        raise Rejected(f"the token is not of {named(stream)}")
