"""What `skep doctor` says of the machine below."""

from __future__ import annotations

from typing import Any

from skep_helper.vocabulary import DriveReading, InventoryReading, PoolReading
from skep_helper.vocabulary.inventory import EnvironmentReading, SmartReading
from skepd.engine.health import checks


def told(running: int = 0, **reading: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in checks(InventoryReading(**reading), running)}


def drive(**smart: Any) -> dict[str, Any]:
    reading = DriveReading(name="ada0", smart=SmartReading(**{"health": "passed", **smart}))
    return told(drives=(reading,))["disk ada0"]


def test_disks() -> None:
    assert drive() == {"name": "disk ada0", "works": True, "reason": "", "advice": ""}
    assert drive(health="failed")["advice"].startswith("replace it now")
    assert drive(bad=3)["reason"].startswith("3 sectors")
    assert drive(worn=95) == {
        "name": "disk ada0",
        "works": False,
        "reason": "95 % of its life is used up",
        "advice": "plan to replace it",
    }
    assert drive(health="unknown", reason="it sleeps")["works"]
    assert told(smart="no smartctl") == {}
    assert not told(smart="no smartctl", drives=(DriveReading(name="ada0"),))["smart"]["works"]


def test_pools() -> None:
    pools = (
        PoolReading(name="well", size=100, allocated=90, health="ONLINE"),
        PoolReading(name="full", size=100, allocated=91, health="ONLINE"),
        PoolReading(name="degraded", health="DEGRADED", problem="a disk is gone"),
        PoolReading(name="suspended", health="SUSPENDED"),
    )
    found = told(pools=pools)
    assert [check["works"] for check in found.values()] == [True, False, False, False]
    assert found["pool full"]["reason"] == "91 % of it is used"
    assert found["pool degraded"]["reason"] == "DEGRADED: a disk is gone"
    assert (found["pool suspended"]["reason"], found["pool suspended"]["advice"]) == (
        "SUSPENDED",
        "zpool status -x suspended",
    )


def test_a_boot_that_is_due_says_what_becomes_of_guests() -> None:
    assert told() == {}
    assert told(reboot="due")["reboot"]["advice"] == "no guest runs: boot now"
    assert "stops the guest in order" in told(1, reboot="due")["reboot"]["advice"]
    assert "stops 3 guests in order" in told(3, reboot="due")["reboot"]["advice"]


def test_boot_environments() -> None:
    default = EnvironmentReading(name="default", running=True, next=True)
    found = told(environments=(default, EnvironmentReading(name="before")))["boot-environment"]
    assert (found["works"], found["reason"]) == (True, "default of 2")
    assert "bectl create" in found["advice"]
    leaving = (EnvironmentReading(name="default", running=True), EnvironmentReading(name="before", next=True))
    found = told(environments=leaving)["boot-environment"]
    assert (found["works"], found["reason"]) == (False, "the next boot goes to before")
