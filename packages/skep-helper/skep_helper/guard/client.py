"""What the helper's other modules ask of guests that may be running. Blocking; every call is one round trip.

All raise ``Failure`` (missing: the guest does not run; timeout; failed: what the VMM said). A guest whose guard was
killed gets a new one first.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ..handlers import Failure
from ..policy import Policy
from . import protocol, spawning, state
from .protocol import GuardError

PATIENCE = 120.0
"""Seconds for an answer. A guard is late only when its VMM is."""
BEGINNING = 300.0
"""Seconds for a guard to have its guest started: a jail, taps, and a VMM that makes its devices, each with a limit of
its own."""
LEAVING = 10.0
FROZEN = 60.0
_SETTLED = ("exists", "missing")
"""Codes of an adoption that has nothing to do: somebody else was faster, or the guest does not run any more."""
_ONE_BY_ONE = 0.001
"""Seconds for one of many guards, when the time for all of them is over."""
_DYING = 0.2
"""Seconds until a process that was killed has let go of its lock."""


def is_running(policy: Policy, guest: str) -> bool:
    """Whether the guest's VMM runs (also paused); no process is started while its guard lives."""
    record = read(policy, guest)
    if record is not None and record["state"] in state.LIVE:
        return True
    # A guard that has no VMM is about to start one (for a helper that was killed meanwhile), or about to leave.
    return not await_guard_gone(policy, guest)


def await_guard_gone(policy: Policy, guest: str) -> bool:
    """Wait until a guard without a VMM has left. Returns False when it runs one after all; raises Failure(busy)."""
    folder = state.Folder(str(policy.run), guest)
    end = time.monotonic() + LEAVING
    while state.guarded(folder):
        record = state.read(folder)
        if record is not None and record["state"] in state.LIVE:
            return False
        if time.monotonic() > end:
            raise Failure("busy", f"guest {guest}: its last guard has not left yet; try again")
        time.sleep(0.01)
    return True


def snapshot(policy: Policy, guest: str, snapshot: str, quiesce: bool) -> bool:
    """Snapshot all disks of a running guest inside their qcow2 files, at one instant.

    A snapshot of this name that is in the files already is replaced. Returns whether the file systems were frozen by
    the guest agent meanwhile.
    """
    return bool(ask(policy, guest, {"op": "snapshot", "snapshot": snapshot, "quiesce": quiesce})["frozen"])


def remove_snapshot(policy: Policy, guest: str, snapshot: str) -> None:
    """Remove a snapshot from all disks of a running guest; repeatable."""
    ask(policy, guest, {"op": "remove-snapshot", "snapshot": snapshot})


@contextmanager
def quiesced(policy: Policy, guest: str, *, wanted: bool) -> Iterator[bool]:
    """The guest's file systems frozen by its agent, where it has one and it is wanted; yields whether they are.

    The guard thaws them by itself after FROZEN seconds, so whoever asked may die. A guard of an older version cannot.
    """
    frozen = False
    if wanted:
        try:
            frozen = bool(ask(policy, guest, {"op": "freeze", "seconds": FROZEN})["frozen"])
        except Failure as failure:
            if failure.code not in ("unsupported", "missing"):
                raise
    try:
        yield frozen
    finally:
        if frozen:
            ask(policy, guest, {"op": "thaw"})


def grow(policy: Policy, guest: str, disk: str, size: int) -> None:
    """Tell a running guest that its disk has `size` bytes now, growing its file too."""
    ask(policy, guest, {"op": "grow", "disk": disk, "size": size})


def read(policy: Policy, guest: str) -> dict[str, Any] | None:
    """The state of a guest (see guard.state), None when it was not started since boot."""
    folder = state.Folder(str(policy.run), guest)
    record = state.read(folder)
    if record is None or record["state"] not in state.LIVE or state.guarded(folder):
        return record
    return adopt(policy, guest)


def adopt(policy: Policy, guest: str) -> dict[str, Any] | None:
    """Give a guest a guard that finds out what became of it; returns the state then."""
    try:
        return spawn(policy, {"guest": guest})
    except Failure as failure:
        if failure.code not in _SETTLED:
            raise
        return state.read(state.Folder(str(policy.run), guest))


def adopt_all(policy: Policy, guests: Sequence[str], patience: float) -> dict[str, str]:
    """As ``adopt`` for many guests at once. Returns why a guest has no guard yet after so many seconds, by guest; one
    that is late goes on beside us."""
    end = time.monotonic() + patience
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        begun: dict[str, socket.socket] = {}
        for guest in guests:
            try:
                begun[guest] = stack.enter_context(_begin(policy, {"guest": guest}))
            except (GuardError, OSError) as error:
                failures[guest] = f"none can be started: {error}"
        for guest, connection in begun.items():
            try:
                _outcome(connection, max(end - time.monotonic(), _ONE_BY_ONE))
            except TimeoutError:
                failures[guest] = f"a new one did not answer within {patience:.0f} s"
            except (GuardError, OSError) as error:
                if getattr(error, "code", "") not in _SETTLED:
                    failures[guest] = str(error)
    return failures


def spawn(policy: Policy, message: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
    """Have a guard forked, see guard.run; returns the state once the VMM executes."""
    try:
        with _begin(policy, message, descriptors) as connection:
            return _outcome(connection, BEGINNING)
    except GuardError as error:
        raise Failure(error.code, f"guest {message['guest']}: {error.message}") from None
    except TimeoutError:
        late = f"its guard did not say within {BEGINNING:.0f} s that it runs; it may still come up, so look again"
        log = state.Folder(str(policy.run), message["guest"]).log
        raise Failure("timeout", f"guest {message['guest']}: {late} ({log} may say why)") from None
    except OSError as error:
        raise Failure("failed", f"guest {message['guest']}: no guard can be started: {error}") from None


def _begin(policy: Policy, message: dict[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
    connection = spawning.connect(str(policy.run))
    try:
        connection.settimeout(PATIENCE)
        protocol.send(connection, {"run": str(policy.run), **message}, descriptors)
    except BaseException:
        connection.close()
        raise
    return connection


def _outcome(connection: socket.socket, patience: float) -> dict[str, Any]:
    connection.settimeout(patience)
    answer, _ = protocol.receive(connection)
    record: dict[str, Any] = protocol.answer_of(answer)["state"]
    return record


def ask(policy: Policy, guest: str, message: dict[str, Any]) -> dict[str, Any]:
    """One operation of a running guest's guard; returns its answer."""
    answer, descriptors = _ask(policy, guest, message, None)
    for descriptor in descriptors:
        os.close(descriptor)
    return answer


def ask_descriptor(policy: Policy, guest: str, message: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """An operation that answers with a descriptor, which is the caller's."""
    answer, descriptors = _ask(policy, guest, message, None)
    if len(descriptors) != 1:
        raise Failure("failed", f"guest {guest}: its guard sent {len(descriptors)} descriptors")
    return answer, descriptors[0]


def ask_long(policy: Policy, guest: str, message: dict[str, Any], patience: float, tick: Callable[[], None]) -> None:
    """An operation that takes up to `patience` seconds; tick() is called every second and may raise to give up (the
    guard sees that and stops)."""
    _ask(policy, guest, message, (patience, tick))


def _ask(
    policy: Policy, guest: str, message: dict[str, Any], long: tuple[float, Callable[[], None]] | None
) -> tuple[dict[str, Any], list[int]]:
    """Asked again once when the guard is killed meanwhile: every operation may be repeated."""
    for attempt in range(2):
        if not is_running(policy, guest):
            break
        try:
            return _ask_once(state.Folder(str(policy.run), guest).socket, message, long)
        except TimeoutError:
            raise Failure("timeout", f"guest {guest}: its guard did not answer within {PATIENCE:.0f} s") from None
        except (GuardError, OSError) as error:
            lost = isinstance(error, OSError) or error.code == "lost"
            if attempt or not lost:
                raise Failure(getattr(error, "code", "lost"), f"guest {guest}: {error}") from None
            time.sleep(_DYING)
    raise Failure("missing", f"guest {guest} does not run; start it first")


def _ask_once(
    path: str, message: dict[str, Any], long: tuple[float, Callable[[], None]] | None
) -> tuple[dict[str, Any], list[int]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        protocol.send(connection, message)
        if long:
            _wait(connection, *long)
        answer, descriptors = protocol.receive(connection)
        return protocol.answer_of(answer), descriptors


def _wait(connection: socket.socket, patience: float, tick: Callable[[], None]) -> None:
    connection.settimeout(1.0)
    for _ in range(int(patience) + 1):
        try:
            connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            tick()
        else:
            break
    connection.settimeout(PATIENCE)
