"""Taking guests over and giving them back, by the engine on a simulated host; faults and deaths on the way."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from adoption_samples import TEMPLATES, conf, foreign
from engine_world import Life, Machine
from skep_helper import vocabulary as v
from skep_helper.handlers import Context, Failure
from skep_helper.linux import storage
from skep_helper.policy import Policy
from skepd.adoption.guests import Choices
from skepd.engine.contract import Refused, Unknown
from skepd.engine.engine import Engine
from skepd.host import HostError
from skepd.model.names import Kind, Ref
from skepd.platform.sim.faults import Fault
from skepd.platform.sim.host import SimHost

SYSTEM = 'switch_list="public"\nports_public="eth1"\nvlan_public="7"\n'


def machine() -> Machine:
    host = SimHost(uplinks=("eth0", "eth1"), management=("eth0",), clock=lambda: 1000.0)
    foreigners = host.vm_bhyve
    foreigners.datasets, foreigners.system, foreigners.autostart = ("zroot/vm",), SYSTEM, ("web",)
    text = conf('loader="uefi"', "cpu=1", "memory=256M", "uefi_vars=yes", "disk1_type=nvme", "disk1_name=data",
                "disk1_dev=zvol")  # fmt: skip
    foreigners.guests = {
        "web": foreign("web", text, zvols=("disk0", "data"), variables=True),
        "old": foreign("old", TEMPLATES["freebsd-zvol"]),
    }
    return Machine(host)


@contextlib.contextmanager
def engine(made: Machine) -> Iterator[Engine]:
    running = Life(made).engine()
    running.recover()
    try:
        yield running
    finally:
        running.close()


def adopt(running: Engine, *names: str) -> str:
    return running.wait(running.adopt(names, Choices()).id, 60).state


def disks(made: Machine, guest: str = "web") -> dict[str, str]:
    folder = made.host.storage.folders.get(guest)
    return {name: disk.adopted for name, disk in folder.disks.items()} if folder else {}


def zvols(made: Machine) -> set[str]:
    return {disk.name for disk in made.host.vm_bhyve.guests["web"].disks}


def test_a_guest_changes_hands_and_comes_back() -> None:
    made = machine()
    before = dict(made.host.vm_bhyve.guests)
    with engine(made) as running:
        plan = running.plan_adoption((), Choices())
        assert {one.source: one.guest is not None for one in plan.found.guests} == {"web": True, "old": False}
        assert disks(made) == {}
        assert adopt(running) == "done"
        assert disks(made) == {"disk0": "zroot/vm/web/disk0", "data": "zroot/vm/web/data"}
        assert zvols(made) == set()
        assert made.host.vm_bhyve.variables == {"web": "zroot/vm/web"}
        assert made.host.vm_bhyve.guests["web"].text == before["web"].text
        assert running.plan_adoption((), Choices()).found.already == {"web": "web"}
        assert running.wait(running.guest_action("web", "start", {}).id, 60).state == "done"
        with pytest.raises(Refused, match="web is running: stop it first"):
            running.give_back(("web",))
        assert running.wait(running.guest_action("web", "stop", {"timeout": 0}).id, 60).state == "done"
        assert [step.verb for step in running.plan_return(("web",)).steps].count("give-back") == 2
        assert running.wait(running.give_back(("web",)).id, 60).state == "done"
    assert disks(made) == {}
    assert zvols(made) == {"disk0", "data"}
    assert "web" not in made.host.storage.folders
    assert not made.host.storage.trash


def test_apply_after_adoption_changes_nothing() -> None:
    made = machine()
    with engine(made) as running:
        assert adopt(running, "web") == "done"
        assert running.plan_adoption(("web",), Choices()).found.guests == ()
        with pytest.raises(Refused, match="adopted already: web"):
            running.adopt(("web",), Choices())
    with engine(made) as again:
        assert again.observe().folder_of["web"].disks[0].format == "zvol"
        assert [note for note in again.doctor() if "web" in str(note)] == []


def test_what_cannot_be_adopted_is_refused_before_anything_is_done() -> None:
    made = machine()
    with engine(made) as running:
        for names, error, words in (
            (("old",), Refused, "loader=bhyveload"), (("web", "old"), Refused, "loader=bhyveload"),
            (("wbe",), Unknown, 'no guest \'wbe\': did you mean "web"'),
        ):  # fmt: skip
            with pytest.raises(error, match=words):
                running.adopt(names, Choices())
        with pytest.raises(Unknown, match="there is no adopted guest 'web'"):
            running.give_back(("web",))
        made.host.vm_bhyve.datasets = ()
        with pytest.raises(Refused, match="adopt ="):
            running.adopt((), Choices())
    assert zvols(made) == {"disk0", "data"}
    assert not made.host.storage.folders


def test_a_guest_with_a_disk_of_its_own_is_not_given_back() -> None:
    made = machine()
    with engine(made) as running:
        assert adopt(running, "web") == "done"
        made.host.perform([v.CreateDisk(guest="web", disk="new", size=1 << 30, format="zvol")])
        with pytest.raises(Refused, match=r"disks that were never vm-bhyve's \(new\)"):
            running.give_back(("web",))


def test_a_guest_of_skep_is_nothing_to_give_back() -> None:
    made = machine()
    with engine(made) as running:
        assert adopt(running, "web") == "done"
        operation = running.guest_action("web", "clone", {"target": "copy"})
        assert running.wait(operation.id, 60).state == "done"
        with pytest.raises(Refused, match="copy was not adopted"):
            running.give_back(("copy",))


@pytest.mark.parametrize("at", [1, 2])
def test_a_failure_on_the_way_brings_everything_back(at: int) -> None:
    made = machine()
    with engine(made) as running:
        made.host.arm(Fault(action="fail", at=at, request=v.AdoptDisk))
        assert adopt(running, "web") == "undone"
    assert zvols(made) == {"disk0", "data"}
    assert not made.host.storage.folders


@pytest.mark.parametrize("at", [1, 2])
def test_a_failure_when_giving_back_leaves_the_guest_in_skep(at: int) -> None:
    made = machine()
    with engine(made) as running:
        assert adopt(running, "web") == "done"
        made.host.arm(Fault(action="fail", at=at, request=v.AdoptDisk))
        assert running.wait(running.give_back(("web",)).id, 60).state == "undone"
        assert running.view(Ref(Kind.GUEST, "web")).object.name == "web"
    assert set(disks(made)) == {"disk0", "data"}


def test_the_host_refuses_what_is_not_listed_or_runs() -> None:
    made = machine()
    made.host.perform([v.CreateGuestFolder(guest="x")])
    with pytest.raises(HostError, match="not below a dataset"):
        made.host.perform([v.AdoptDisk(guest="x", disk="d", source="tank/other/web/disk0")])
    web = made.host.vm_bhyve.guests["web"]
    made.host.vm_bhyve.guests["web"] = foreign("web", web.text, busy="/dev/vmm/web exists")
    with pytest.raises(HostError, match="runs"):
        made.host.perform([v.AdoptDisk(guest="x", disk="d", source="zroot/vm/web/disk0")])


def test_sources_are_datasets_and_nothing_else() -> None:
    for source in ("zroot", "zroot/../x", "/zroot/vm/x/d", "zroot/vm/x/d@now", "zroot/vm/-x/d", "zroot/vm/x d"):
        with pytest.raises(v.Rejected):
            v.AdoptDisk(guest="x", disk="d", source=source)


def test_a_pool_of_files_says_what_it_would_take() -> None:
    for request in (v.ReadVmBhyve(), v.AdoptVariables(guest="x", source="zroot/vm/web")):
        with pytest.raises(Failure, match="needs OpenZFS, and this host keeps guests and images as files"):
            storage.HANDLERS[type(request)](Context(policy=Policy(), peer_uid=0), request)
