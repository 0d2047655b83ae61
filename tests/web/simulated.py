"""skepd on a simulated host that has images, as a process: `python -m tests.web.simulated SKEPD-OPTIONS`.

Lines on its standard input are faults: `crash GUEST`, `reboot GUEST`, `off GUEST`.
"""

from __future__ import annotations

import argparse
import sys
import threading

from skepd.daemon import main as daemon
from skepd.engine.engine import Settings
from skepd.platform.sim import SimHost
from skepd.platform.sim.files import SimFiles

IMAGES = (
    ("debian", "12", 2 << 30, "qcow2"),
    ("freebsd", "14.3", 4 << 30, "qcow2"),
    ("openbsd-install", "7.6", 1 << 28, "iso"),
)


def main() -> int:
    host = SimHost(uplinks=("igb0", "igb1"), management=("igb1",))
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
