"""What can be lost: ended operations and events, in SQLite. Losing the file loses history, nothing else."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from skepd.model.names import Manager

from .contract import Event, Operation, StepState

KEEP_EVENTS = 10_000
KEEP_OPERATIONS = 2_000
_SPARE = 1_000
"""Numbers of events left out after a crash: the last ones given out may not have reached the disk."""
log = logging.getLogger("skepd.index")

_TABLES = """
CREATE TABLE IF NOT EXISTS operation (id TEXT PRIMARY KEY, created REAL, body TEXT);
CREATE INDEX IF NOT EXISTS operation_created ON operation (created);
CREATE TABLE IF NOT EXISTS definition (guest TEXT, snapshot TEXT, text TEXT, PRIMARY KEY (guest, snapshot));
CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL, kind TEXT, ref TEXT, data TEXT);
"""


class Index:
    """Thread-safe. path None: in memory.

    A damaged file is moved aside and begun anew; one that cannot be written any more is left, and history goes on in
    memory. Numbers of events rise all the same: a new index begins with the seconds since the epoch.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        import sqlite3  # late: a bare Python may lack it, and the conformance suite does without

        self._lock = threading.RLock()
        self._base, self._clock, self._closed = sqlite3, clock, False
        try:
            self._connection = self._connect(path)
        except sqlite3.DatabaseError as error:
            if path is None:
                raise
            log.warning("%s is damaged (%s): moved aside, history begins anew", path, error)
            _move_aside(path)
            self._connection = self._connect(path)

    def _connect(self, path: Path | None) -> Any:
        crashed = path is not None and Path(f"{path}-wal").exists()
        connection = self._base.connect(str(path or ":memory:"), check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_TABLES)
            if path is not None and connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise self._base.DatabaseError("the quick check failed")
            self._set_numbers(connection, crashed)
        except self._base.DatabaseError:
            connection.close()
            raise
        return connection

    def _set_numbers(self, connection: Any, crashed: bool) -> None:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
        if row is None:
            connection.execute("INSERT INTO sqlite_sequence VALUES ('event', ?)", (int(self._clock()),))
        elif crashed:
            connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'event'", (row[0] + _SPARE,))

    def _do(self, act: Callable[[Any], Any]) -> Any:
        """act(connection); once more on a new index in memory when this one fails."""
        with self._lock:
            try:
                return act(self._connection)
            except self._base.Error as error:
                if not self._closed:
                    log.warning("the index of operations and events failed (%s): it goes on in memory", error)
                with suppress(self._base.Error):
                    self._connection.close()
                self._connection = self._connect(None)
                return act(self._connection)

    def add_event(self, time: float, kind: str, ref: str, data: dict[str, Any]) -> Event:
        def add(connection: Any) -> int:
            cursor = connection.execute(
                "INSERT INTO event (time, kind, ref, data) VALUES (?, ?, ?, ?)", (time, kind, ref, json.dumps(data))
            )
            number = int(cursor.lastrowid)
            if number % 500 == 0:
                connection.execute("DELETE FROM event WHERE number <= ?", (number - KEEP_EVENTS,))
            return number

        return Event(number=self._do(add), time=time, kind=kind, ref=ref, data=data)

    def events(self, after: int, limit: int) -> list[Event]:
        rows = self._do(
            lambda connection: connection.execute(
                "SELECT number, time, kind, ref, data FROM event WHERE number > ? ORDER BY number LIMIT ?",
                (after, limit),
            ).fetchall()
        )
        return [Event(number=n, time=t, kind=k, ref=r, data=json.loads(d)) for n, t, k, r, d in rows]

    def save(self, operation: Operation) -> None:
        body = json.dumps(asdict(operation))

        def write(connection: Any) -> None:
            row = (operation.id, operation.created, body)
            connection.execute("INSERT OR REPLACE INTO operation VALUES (?, ?, ?)", row)
            connection.execute(
                "DELETE FROM operation WHERE id IN (SELECT id FROM operation ORDER BY created DESC LIMIT -1 OFFSET ?)",
                (KEEP_OPERATIONS,),
            )

        self._do(write)

    def operations(self, limit: int) -> list[Operation]:
        rows = self._do(
            lambda connection: connection.execute(
                "SELECT body FROM operation ORDER BY created DESC, id DESC LIMIT ?", (limit,)
            ).fetchall()
        )
        return [_operation(json.loads(row[0])) for row in rows]

    def operation(self, identity: str) -> Operation | None:
        row = self._do(
            lambda connection: connection.execute("SELECT body FROM operation WHERE id = ?", (identity,)).fetchone()
        )
        return _operation(json.loads(row[0])) if row else None

    def keep_definition(self, guest: str, snapshot: str, text: str) -> None:
        """As it was when the snapshot was asked for."""
        self._do(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO definition VALUES (?, ?, ?)", (guest, snapshot, text)
            )
        )

    def definition(self, guest: str, snapshot: str) -> str | None:
        row = self._do(
            lambda connection: connection.execute(
                "SELECT text FROM definition WHERE guest = ? AND snapshot = ?", (guest, snapshot)
            ).fetchone()
        )
        return str(row[0]) if row else None

    def forget_definitions(self, guest: str) -> None:
        """Of a guest that is gone."""
        self._do(lambda connection: connection.execute("DELETE FROM definition WHERE guest = ?", (guest,)))

    def close_unended(self, going_on: set[str]) -> None:
        """Give an end to what a former run left without one, but for what goes on."""
        for operation in self.operations(KEEP_OPERATIONS):
            if not operation.ended and operation.id not in going_on:
                how = "while this ended, and how is not known" if operation.steps else "before this began: ask again"
                error = f"skepd was restarted {how}"
                self.save(replace(operation, state="failed", ended=self._clock(), error=error))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._connection.close()


def _move_aside(path: Path) -> None:
    path.replace(path.with_suffix(".damaged"))
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def _operation(body: dict[str, Any]) -> Operation:
    steps = tuple(StepState(**step) for step in body.pop("steps"))
    operation = Operation(**{**body, "log": tuple(body["log"]), "manager": Manager(body["manager"])})
    return replace(operation, steps=steps)
