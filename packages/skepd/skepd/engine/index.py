"""What can be lost: ended operations and events, in SQLite. Losing the file loses history, nothing else."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from skepd.model.names import Manager

from .contract import Event, Operation, StepState

KEEP_EVENTS = 10_000
KEEP_OPERATIONS = 2_000

_TABLES = """
CREATE TABLE IF NOT EXISTS operation (id TEXT PRIMARY KEY, created REAL, body TEXT);
CREATE INDEX IF NOT EXISTS operation_created ON operation (created);
CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL, kind TEXT, ref TEXT, data TEXT);
"""


class Index:
    """Thread-safe. path None: in memory. A damaged file is moved aside and begun anew."""

    def __init__(self, path: Path | None) -> None:
        import sqlite3  # late: a bare Python may lack it, and the conformance suite does without

        self._lock = threading.Lock()
        self._base = sqlite3
        try:
            self._connection = self._connect(path)
        except sqlite3.DatabaseError:
            if path is None:
                raise
            path.replace(path.with_suffix(".damaged"))
            self._connection = self._connect(path)

    def _connect(self, path: Path | None) -> Any:
        connection = self._base.connect(str(path or ":memory:"), check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_TABLES)
        return connection

    def add_event(self, time: float, kind: str, ref: str, data: dict[str, Any]) -> Event:
        with self._lock:
            cursor = self._connection.execute(
                "INSERT INTO event (time, kind, ref, data) VALUES (?, ?, ?, ?)", (time, kind, ref, json.dumps(data))
            )
            number = int(cursor.lastrowid)
            if number % 500 == 0:
                self._connection.execute("DELETE FROM event WHERE number <= ?", (number - KEEP_EVENTS,))
        return Event(number=number, time=time, kind=kind, ref=ref, data=data)

    def events(self, after: int, limit: int) -> list[Event]:
        with self._lock:
            rows = self._connection.execute(
                "SELECT number, time, kind, ref, data FROM event WHERE number > ? ORDER BY number LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Event(number=n, time=t, kind=k, ref=r, data=json.loads(d)) for n, t, k, r, d in rows]

    def save(self, operation: Operation) -> None:
        body = json.dumps(asdict(operation))
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO operation VALUES (?, ?, ?)", (operation.id, operation.created, body)
            )
            self._connection.execute(
                "DELETE FROM operation WHERE id IN (SELECT id FROM operation ORDER BY created DESC LIMIT -1 OFFSET ?)",
                (KEEP_OPERATIONS,),
            )

    def operations(self, limit: int) -> list[Operation]:
        with self._lock:
            rows = self._connection.execute(
                "SELECT body FROM operation ORDER BY created DESC, id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [_operation(json.loads(row[0])) for row in rows]

    def operation(self, identity: str) -> Operation | None:
        with self._lock:
            row = self._connection.execute("SELECT body FROM operation WHERE id = ?", (identity,)).fetchone()
        return _operation(json.loads(row[0])) if row else None

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _operation(body: dict[str, Any]) -> Operation:
    steps = tuple(StepState(**step) for step in body.pop("steps"))
    operation = Operation(**{**body, "log": tuple(body["log"]), "manager": Manager(body["manager"])})
    return replace(operation, steps=steps)
