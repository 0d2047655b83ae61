"""Several definitions as one change: a guest with its ports, all or nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from engine_world import Life, Machine
from skepd.engine.contract import Conflict, Unknown
from skepd.engine.engine import Engine
from skepd.model.errors import DefinitionError
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Disk, Guest, Network, Nic, Object, Port

WEB, PORT, LAN = Ref(Kind.GUEST, "web"), Ref(Kind.PORT, "web.0"), Ref(Kind.NETWORK, "lan")
GUEST = Guest(name="web", disks=(Disk(name="root", size=1 << 30),), nics=(Nic(port="web.0"),))
ALL: list[tuple[Object, str | None]] = [
    (GUEST, "*"),
    (Port(name="web.0", network="lan", guest="web"), "*"),
    (Network(name="lan"), "*"),
]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Life(Machine()).engine()
    engine.recover()
    with contextlib.closing(engine):
        yield engine


def missing(engine: Engine, ref: Ref) -> bool:
    try:
        engine.view(ref)
    except Unknown:
        return True
    return False


def test_what_refers_to_another_finds_it(engine: Engine) -> None:
    plan = engine.plan_put_all(ALL, manager=Manager.USER, take_over=False)
    assert missing(engine, WEB)
    ended = engine.wait(engine.put_all(ALL, manager=Manager.USER, take_over=False).id, 60)
    assert ended.state == "done", ended.error
    assert ended.title == "create guest web and 2 more"
    assert [step.summary for step in ended.steps] == [step.summary for step in plan.steps]
    assert engine.view(WEB).status["state"] == "running"
    assert engine.view(WEB).status["networks"] == ["lan"]
    assert engine.view(PORT).status["state"] == "present"


def test_all_or_nothing(engine: Engine) -> None:
    with pytest.raises(DefinitionError, match='no network "lan"'):
        engine.put_all(ALL[:2], manager=Manager.USER, take_over=False)
    assert missing(engine, WEB)
    engine.wait(engine.put(Network(name="lan"), manager=Manager.SITE).id, 60)
    for values, reason in ((ALL, "exists already"), ([(Network(name="lan", mtu=1400), None)], "managed by site")):
        with pytest.raises(Conflict, match=reason):
            engine.put_all([*ALL[:2], *values[-1:]], manager=Manager.USER, take_over=False)
    assert missing(engine, WEB)
    assert missing(engine, PORT)


def test_one_that_changed_meanwhile_stops_all(engine: Engine) -> None:
    engine.wait(engine.put_all(ALL, manager=Manager.USER, take_over=False).id, 60)
    etag = engine.view(WEB).etag
    second = (Port(name="web.1", network="lan", guest="web"), None)
    wider = Guest(name="web", disks=GUEST.disks, nics=(*GUEST.nics, Nic(port="web.1")))
    with pytest.raises(Conflict, match="changed since"):
        engine.put_all([(wider, "0" * 16), second], manager=Manager.USER, take_over=False)
    ended = engine.wait(engine.put_all([(wider, etag), second], manager=Manager.USER, take_over=False).id, 60)
    assert ended.state == "done", ended.error
    assert engine.view(WEB).status["networks"] == ["lan", "lan"]
