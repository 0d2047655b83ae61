"""Streams of snapshots on their way out of this host and into it: a pipe between the caller and the host."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from skep_helper.vocabulary import (
    EstimateSend,
    PromoteGuest,
    ReadReplica,
    ReceiveSnapshot,
    ReplicaReading,
    SendSnapshot,
    SnapshotStream,
)

from skepd.host import Host
from skepd.model.definitions import validate
from skepd.model.desired import Desired, ref_of
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Guest, Port
from skepd.plan.options import PlanOptions
from skepd.plan.steps import Plan, Step

from .contract import Conflict
from .live import Planned
from .planning import Planning, Wish
from .store import including


class Moving:
    """One stream under way. descriptor: the caller's end of the pipe, not blocking; closed by `end`.

    A connection of its own, because cancelling ends all that a connection is asked.
    """

    def __init__(self, host: Host, request: Any, *, outgoing: bool, size: int = 0) -> None:
        self.size = size
        self._host, self._request = host, request
        reader, writer = os.pipe()
        self.descriptor, self._theirs = (reader, writer) if outgoing else (writer, reader)
        os.set_blocking(self.descriptor, False)
        self._error: Exception | None = None
        self._open = True
        self._thread = threading.Thread(target=self._carry, name="skep-stream", daemon=True)
        self._thread.start()

    def _carry(self) -> None:
        try:
            self._host.stream(self._request, self._theirs)
        except Exception as error:  # noqa: BLE001 - raised again by end, in the caller's thread
            self._error = error
        finally:
            os.close(self._theirs)

    def end(self) -> None:
        """The caller has read or written all, or gives up. Waits for the host; raises what it refused (HostError)."""
        if self._open:
            self._open = False
            os.close(self.descriptor)
            self._thread.join()
            self._host.close()
        if self._error is not None:
            raise self._error


def sending(connect: Callable[[], Host], stream: SnapshotStream) -> Moving:
    """Raises HostError for a stream that cannot be sent."""
    host = connect()
    try:
        (estimate,) = host.perform((EstimateSend(stream=stream),))
    except BaseException:
        host.close()
        raise
    return Moving(host, SendSnapshot(stream=stream), outgoing=True, size=estimate.size)


def receiving(connect: Callable[[], Host], request: ReceiveSnapshot) -> Moving:
    return Moving(connect(), request, outgoing=False)


def reading(host: Host, guest: str) -> ReplicaReading:
    (found,) = host.perform((ReadReplica(guest=guest),))
    assert isinstance(found, ReplicaReading)
    return found


def require_new(desired: Desired, guest: str) -> None:
    if guest in desired.guests:
        raise Conflict(f"there is a guest {guest} already: import it under another name")


def importing(planning: Planning, guest: Guest, ports: tuple[Port, ...]) -> Wish:
    """A guest of a replica, with these definitions. Raises Conflict for names that are taken."""
    guest = cast(Guest, validate(replace(guest, manager=Manager.USER)))
    ports = tuple(cast(Port, validate(replace(port, manager=Manager.USER))) for port in ports)

    def change(before: Desired) -> tuple[Desired, PlanOptions]:
        require_new(before, guest.name)
        after = including(before, guest)
        for port in ports:
            if port.guest != guest.name:
                raise Conflict(f"port {port.name} is not of guest {guest.name}")
            if port.name in before.ports:
                raise Conflict(f"there is a port {port.name} already: import the guest under another name")
            after = including(after, port)
        return after, PlanOptions(adopt=frozenset({guest.name}))

    planner = planning.with_options(change)

    def make() -> Planned:
        found = planner()
        return replace(found, plan=_promoting(found.plan, guest.name))

    refs = frozenset({ref_of(guest), *map(ref_of, ports)})
    return Wish(f"import guest {guest.name}", Manager.USER, make, refs)


def _promoting(found: Plan, guest: str) -> Plan:
    """The plan with the replica's promotion before all else. Not undone: a guest without a definition runs nowhere, and
    the import may be repeated."""
    step = Step(
        verb="promote", ref=Ref(Kind.GUEST, guest), summary=f"promote the replica of guest {guest}",
        requests=(PromoteGuest(guest=guest),), stage=0,
    )  # fmt: skip
    return replace(found, steps=(step, *(replace(one, stage=one.stage + 1) for one in found.steps)))
