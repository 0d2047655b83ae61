"""skepd on a simulated host that has images, as a process: `python -m tests.web.simulated SKEPD-OPTIONS`.

Lines on its standard input are faults: `crash GUEST`, `reboot GUEST`, `off GUEST`.
"""

from __future__ import annotations

import argparse
import sys
import threading

from skep_helper.vocabulary.inventory import CpuReading, DriveReading, NicReading, PoolReading, SmartReading
from skepd.daemon import main as daemon
from skepd.engine.engine import Settings
from skepd.platform.sim import SimHost
from skepd.platform.sim.files import SimFiles

IMAGES = (
    ("debian", "12", 2 << 30, "qcow2"),
    ("freebsd", "14.3", 4 << 30, "qcow2"),
    ("openbsd-install", "7.6", 1 << 28, "iso"),
)

SSD = SmartReading(health="passed", worn=7, hours=8123, temperature=34)
INVENTORY = {
    "kernel": "14.3-RELEASE",
    "cpu": CpuReading(model="AMD EPYC 3251", cores=8, threads=16),
    "nics": (
        NicReading(name="igb0", mac="3c:ec:ef:10:20:30", driver="igb", speed="1000baseT <full-duplex>", up=True),
        NicReading(name="igb1", mac="3c:ec:ef:10:20:31", driver="igb", description="management", up=True),
    ),
    "drives": (
        DriveReading(name="ada0", size=4_000_787_030_016, model="SSD 870 EVO 4TB", serial="S6P1", smart=SSD),
        DriveReading(name="ada1", size=4_000_787_030_016, model="SSD 870 EVO 4TB", serial="S6P2", smart=SSD),
    ),
    "pools": (PoolReading(name="tank", size=4 << 40, allocated=1 << 40, fragmentation=11, health="ONLINE"),),
}


def main() -> int:
    host = SimHost(uplinks=("igb0", "igb1"), management=("igb1",))
    host.inventory = dict(INVENTORY)
    for image in IMAGES:
        host.add_image(*image)

    def simulated(options: argparse.Namespace) -> Settings:
        return daemon._settings(options, SimFiles(), lambda: host, lambda hello: host.facts(), None)

    daemon._simulated = simulated
    threading.Thread(target=listen, args=(host,), daemon=True).start()
    return daemon.main(["--simulate", *sys.argv[1:]])


def listen(host: SimHost) -> None:
    for line in sys.stdin:
        fault, guest = line.split()
        {"crash": host.crash, "reboot": host.reboot, "off": host.power_off}[fault](guest)


if __name__ == "__main__":
    sys.exit(main())
