"""Looks at a FreeBSD machine: a fixed number of commands that anybody may run, and files that anybody may read."""

from __future__ import annotations

import grp
import pwd
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from . import machine, prepare, wants

Run = Callable[[list[str]], str]
_ENVIRONMENT = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL": "C"}
_PATIENCE = 30.0
# In the order in which the loader and rc.d/sysctl read them.
LOADER = ("boot/loader.conf", "boot/loader.conf.d/*.conf", "boot/loader.conf.local")
SYSCTL = ("etc/sysctl.conf", "etc/sysctl.conf.d/*.conf", "etc/sysctl.kld.d/*.conf", "etc/sysctl.conf.local")
RC = ("etc/rc.conf", "etc/rc.conf.local")
DEVFS = ("etc/defaults/devfs.rules", "etc/devfs.rules")


def run(argv: list[str]) -> str:
    """What a command printed; "" when it is not there or refuses, for what it would tell is then not there either."""
    try:
        done = subprocess.run(argv, capture_output=True, env=_ENVIRONMENT, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def look(run: Run = run, root: Path = Path("/")) -> machine.Machine:
    """What this machine has. Raises OSError when one of its files cannot be read."""
    kernel = machine.parse_sysctl(run(["sysctl", "-ie", "kern.osreldate", *prepare.SYSCTLS]))
    modules = run(["kldstat", "-v"])
    listed = [entry for entry in prepare.FILES if (root / entry.lstrip("/")).exists()]
    return machine.Machine(
        release=int(kernel.get("kern.osreldate", 0)),
        # Without bsdconfig(8) sysrc(8) says nothing, and the files are read as if they were plain settings.
        rc=machine.parse_sysrc(run(["sysrc", "-a"])) or machine.parse_settings(*_texts(root, RC)),
        loader=machine.parse_settings(*_texts(root, LOADER)),
        sysctl_conf=machine.parse_settings(*_texts(root, SYSCTL)),
        kernel=kernel,
        modules=machine.parse_modules(modules),
        builtin=machine.parse_builtin(modules),
        rulesets=machine.parse_rulesets(*_texts(root, DEVFS)),
        policy=machine.parse_policy("".join(_texts(root, (wants.POLICY.lstrip("/"),)))),
        pools=frozenset(run(["zpool", "list", "-H", "-o", "name"]).split()),
        datasets=machine.parse_datasets(
            run(["zfs", "get", "-Hp", "-t", "filesystem", "-o", "name,property,value", "mountpoint,volmode"])
        ),
        drivers=machine.parse_drivers(run(["pciconf", "-l"])),
        interfaces=frozenset(run(["ifconfig", "-l"]).split()),
        users=frozenset(entry.pw_name for entry in pwd.getpwall()),
        groups=frozenset(entry.gr_name for entry in grp.getgrall()),
        files=frozenset(listed),
    )


def _texts(root: Path, patterns: Iterable[str]) -> list[str]:
    paths = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    return [path.read_text(errors="replace") for path in paths]
