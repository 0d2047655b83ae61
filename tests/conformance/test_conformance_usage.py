"""The contract of ReadUsage: counters that only rise, of every guest that runs and every port that is there."""

from __future__ import annotations

from conformance_lab import GUEST, MIB, PORT, A, disk_format, need, network, port
from skep_helper import vocabulary as v
from skep_helper.vocabulary.guest import DiskDevice, NicDevice
from skepd.host import Host
from skepd.plan.digests import NO_DIGEST, sealed


def usage(host: Host) -> v.UsageReading:
    (found,) = host.perform((v.ReadUsage(),))
    assert isinstance(found, v.UsageReading)
    return found


def test_the_host_uses_something(host: Host) -> None:
    before, after = usage(host), usage(host)
    assert 0 < after.host.free < after.host.memory
    assert after.host.cpus > 0
    assert 0 < before.host.cpu <= after.host.cpu


def test_a_guest_that_runs_and_its_port_are_told(host: Host) -> None:
    need(host, "vmm", "nmdm")
    nic, disk = NicDevice(port=PORT, slot=1, mac="02:00:00:00:00:51"), DiskDevice(disk="data", slot=0)
    spec = sealed(v.GuestSpec(name=GUEST, digest=NO_DIGEST, memory=256 * MIB, nics=(nic,), disks=(disk,)))
    host.perform(
        [
            v.CreateGuestFolder(guest=GUEST),
            v.CreateDisk(guest=GUEST, disk="data", size=8 * MIB, format=disk_format(host)),
            v.ApplyNetwork(network=network(host, A, 1)),
            v.ApplyPort(port=port(guest=GUEST)),
        ]
    )
    assert GUEST not in {one.name for one in usage(host).guests}, "it does not run yet"
    assert PORT in {one.name for one in usage(host).ports}
    host.perform([v.StartGuest(guest=spec)])
    before, after = (next(one for one in usage(host).guests if one.name == GUEST) for _ in range(2))
    assert before.memory > 0
    assert after.cpu >= before.cpu
    assert after.disk_read >= before.disk_read
    assert after.disk_written >= before.disk_written
    host.perform([v.StopGuest(guest=GUEST, timeout=0)])
    assert GUEST not in {one.name for one in usage(host).guests}
