"""skep-helper on a FreeBSD with nothing installed: the real one, with stand-ins for what guests could not do without.

python3.11 freebsd_helper.py FOLDER ARGUMENTS-OF-SKEP-HELPER. What is stood in for is said on standard output. The two
sysctls that every host of Skep needs (docs/freebsd.md) are set while it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "freebsd"))
from bhyve_stand_ins import stand_in_for_firmware, stand_in_for_iasl
from skep_helper import main
from skep_helper.freebsd.network.system import System

_NEEDED = {"net.link.tap.up_on_open": 1, "net.link.tap.devfs_cloning": 0}


@contextmanager
def prepared() -> Iterator[None]:
    system = System()
    before = {name: system.sysctl(name) for name in _NEEDED}
    for name, value in _NEEDED.items():
        system.set_sysctl(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            system.set_sysctl(name, value)


if __name__ == "__main__":
    folder, *arguments = sys.argv[1:]
    if stand_in_for_firmware(Path(folder)):
        print("edk2-bhyve is not installed: guests boot a ROM of a few bytes", flush=True)
    if stand_in_for_iasl():
        print("this system was built without iasl: guests get an empty ACPI table", flush=True)
    with prepared():
        status = main.main(arguments)
    sys.exit(status)
