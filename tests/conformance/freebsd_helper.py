"""skep-helper on a FreeBSD with nothing installed: the real one, with stand-ins for what guests could not do without.

python3.11 freebsd_helper.py FOLDER ARGUMENTS-OF-SKEP-HELPER. What is stood in for is said on standard output.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "freebsd"))
from bhyve_stand_ins import stand_in_for_firmware, stand_in_for_iasl
from skep_helper import main

if __name__ == "__main__":
    folder, *arguments = sys.argv[1:]
    if stand_in_for_firmware(Path(folder)):
        print("edk2-bhyve is not installed: guests boot a ROM of a few bytes", flush=True)
    if stand_in_for_iasl():
        print("this system was built without iasl: guests get an empty ACPI table", flush=True)
    sys.exit(main.main(arguments))
