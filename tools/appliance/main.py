"""The three commands. Each may be repeated."""

from __future__ import annotations

import os
import shutil
import sys

from . import accounts, environment, folders, guests, image, packages, pages, services
from .commands import show
from .places import ENVIRONMENT, RUN, RUN_HELPER, SITE, SSH_CONFIG, STATE, tool
from .progress import Changes, Trouble, fail, say, step

NEXT = f"""
What to type next:
  export PATH="{ENVIRONMENT / "bin"}:$PATH"
  skep guest list                        what runs
  skep guest console gateway             its serial console; leave with Enter ~.
  ssh -F {SSH_CONFIG} files    into `files`, through `gateway`
  skep snapshot create files before      a point to go back to: `skep snapshot rollback files before`
  skep plan {SITE}        what would change, after you have edited it; `skep apply` does it
  make down                              stop everything; `make purge` removes it
"""


def up() -> int:
    packages.install()
    accounts.create()
    folders.create()
    changed = environment.install()
    image.publish()
    services.start(changed)
    guests.apply()
    guests.answer()
    if Changes.count:
        say("up: every guest answers")
    else:
        say("nothing to do: everything was up already, and every guest answers")
    print(flush=True)
    show([tool("skep"), "guest", "list"])
    print(NEXT)
    print(pages.invitation(), flush=True)
    return 0


def down() -> int:
    """Stop everything; the state folder stays."""
    if not RUN_HELPER.exists():
        say("nothing to do: Skep is not up")
        return 0
    folders.create()
    services.start(False)
    guests.await_engine()
    with step("stop the guests and take the networks away"):
        guests.down()
    services.stop()
    for folder in RUN:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"down: definitions, disks and images are in {STATE}; `make up` brings them back, `make purge` removes them")
    return 0


def purge() -> int:
    """Remove all that `make up` has made. Debian's packages stay: others may use them by now."""
    down()
    services.remove()
    if STATE.exists():
        with step(f"remove {STATE}"):
            shutil.rmtree(STATE)
    accounts.remove()
    say("purged: nothing of Skep is left but this checkout")
    return 0


def main() -> int:
    commands = {"up": up, "down": down, "purge": purge}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        return fail(f"usage: appliance {' | '.join(commands)}")
    if os.geteuid() != 0:
        return fail("this changes the machine, so it must be root: try `sudo make up`")
    try:
        return commands[sys.argv[1]]()
    except Trouble as error:
        return fail(error)
