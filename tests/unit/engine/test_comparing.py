"""A snapshot beside what there is now."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from engine_world import Life, Machine
from skepd.engine.contract import Unknown
from skepd.engine.engine import Engine
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Disk, Guest

WEB = Guest(name="web", memory=512 << 20, disks=(Disk(name="root", size=1 << 30),))


def done(engine: Engine, identity: str) -> None:
    ended = engine.wait(identity, 60)
    assert ended.state == "done", ended.error


def test_what_changed_since_a_snapshot() -> None:
    machine = Machine()
    with contextlib.closing(Life(machine).engine()) as engine:
        engine.recover()
        done(engine, engine.put(WEB, manager=Manager.USER).id)
        with pytest.raises(Unknown, match="no snapshot 'first': it has none"):
            engine.changes("web", "first")
        done(engine, engine.guest_action("web", "snapshot", {"snapshot": "first"}).id)
        found = engine.changes("web", "first")
        disks = {"root": {"written": 0, "grown": 0}}
        assert found == {"since": 1000.0, "disks": disks, "newer": [], "definition": []}
        machine.host.write_disk("web", "root", "new")
        larger = replace(WEB, memory=1 << 30, disks=(Disk(name="root", size=3 << 30),))
        done(engine, engine.put(larger, manager=Manager.USER).id)
        found = engine.changes("web", "first")
        assert found["disks"]["root"]["written"] > 0
        assert found["disks"]["root"]["grown"] == 2 << 30
        changed = {line for line in found["definition"] if line[0] in "+-"}
        assert {line.split(" = ")[0] for line in changed} == {"+memory", "-size", "+size"}
        assert engine._index.definition("web", "first") is not None
        done(engine, engine.delete(Ref(Kind.GUEST, "web"), manager=Manager.USER).id)
        assert engine._index.definition("web", "first") is None, "it goes with the guest"


def test_a_definition_that_was_not_kept_is_not_known() -> None:
    machine = Machine()
    with contextlib.closing(Life(machine).engine()) as engine:
        engine.recover()
        done(engine, engine.put(WEB, manager=Manager.USER).id)
        done(engine, engine.guest_action("web", "snapshot", {"snapshot": "first"}).id)
    with contextlib.closing(Life(machine).engine()) as engine:
        assert engine.changes("web", "first")["definition"] is None
