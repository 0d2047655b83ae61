"""Skep's services, run by systemd where it runs, else by start-stop-daemon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .commands import run, succeeds
from .places import (
    ENGINE_STATE,
    GATEWAY_PORT,
    GATEWAY_STATE,
    GATEWAY_USER,
    IMAGE_PORT,
    LOG,
    PAGE,
    POLICY,
    POOL,
    PUBLISHED,
    RUN_ENGINE,
    RUN_HELPER,
    SIGNERS,
    USER,
    tool,
)
from .progress import Trouble, say, step

UNITS = Path("/etc/systemd/system")
KEPT = """KillMode=process
TasksMax=infinity
OOMPolicy=continue"""


@dataclass(frozen=True)
class Service:
    """A daemon in the foreground. keep: its children outlive it (guards and their guests)."""

    name: str
    title: str
    user: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    keep: bool = False


HELPER = Service(
    "skep-helper",
    "Skep's root side",
    "root",
    (tool("skep-helper"), "--policy", str(POLICY)),
    lambda: succeeds(["test", "-S", RUN_HELPER / "helper.sock"]),
    keep=True,
)
ENGINE = Service(
    "skepd",
    "Skep's engine",
    USER,
    (
        tool("skepd"),
        "--state",
        str(ENGINE_STATE),
        "--pool",
        str(POOL),
        "--socket",
        str(RUN_ENGINE / "skepd.sock"),
        "--allowed-signers",
        str(SIGNERS),
        "--page",
        PAGE,
    ),
    lambda: succeeds([tool("skep"), "host", "show"]),
)
IMAGES = Service(
    "skep-images",
    "Images that this machine publishes to itself",
    GATEWAY_USER,
    (tool("python"), "-m", "skepd.images.serve", str(PUBLISHED), "--bind", "127.0.0.1", "--port", str(IMAGE_PORT)),
    lambda: _listens(IMAGE_PORT),
)
GATEWAY = Service(
    "skep-gateway",
    "Skep's API on TCP, by TLS",
    GATEWAY_USER,
    (
        tool("skep-gateway"),
        "--state",
        str(GATEWAY_STATE),
        "--socket",
        str(RUN_ENGINE / "skepd.sock"),
        "--listen",
        f"127.0.0.1:{GATEWAY_PORT}",
    ),
    lambda: _listens(GATEWAY_PORT),
)
ALL = (HELPER, ENGINE, IMAGES, GATEWAY)


def start(changed: bool) -> None:
    """Start what does not run; with `changed`, start everything anew (guests run on)."""
    for service in ALL:
        if running(service):
            if not changed:
                continue
            with step(f"restart {service.name}"):
                _stop(service)
                _start(service)
        else:
            with step(f"start {service.name}"):
                _start(service)
        _await(service)


def stop() -> None:
    for service in reversed(ALL):
        if running(service):
            with step(f"stop {service.name}"):
                _stop(service)


def running(service: Service) -> bool:
    if _systemd():
        return succeeds(["systemctl", "is-active", "--quiet", service.name])
    return _lives(service)


def _lives(service: Service) -> bool:
    """Whether the process of the pid file is there, is this service, and is more than a zombie."""
    try:
        pid = int(Path(_pidfile(service)).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    # A zombie has no command line.
    return service.argv[-1].encode() in words


def remove() -> None:
    """Remove the units of systemd."""
    units = [UNITS / f"{service.name}.service" for service in ALL]
    there = [unit for unit in units if unit.exists()]
    for unit in there:
        run(["systemctl", "disable", "--quiet", unit.name])
        unit.unlink()
    if there:
        run(["systemctl", "daemon-reload"])


def _systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _start(service: Service) -> None:
    if _systemd():
        _write_unit(service)
        run(["systemctl", "enable", "--quiet", service.name])
        run(["systemctl", "start", service.name])
        return
    argv = ["start-stop-daemon", "--start", "--background", "--make-pidfile", "--pidfile", _pidfile(service)]
    argv += ["--chdir", "/", "--output", str(LOG / f"{service.name}.log")]
    if service.user != "root":
        argv += ["--chuid", f"{service.user}:{service.user}"]
    run([*argv, "--startas", service.argv[0], "--", *service.argv[1:]], {"PYTHONUNBUFFERED": "1"})


def _stop(service: Service) -> None:
    if _systemd():
        run(["systemctl", "stop", service.name])
        return
    run(["start-stop-daemon", "--stop", "--oknodo", "--retry", "TERM/20/KILL/5", "--pidfile", _pidfile(service)])
    Path(_pidfile(service)).unlink(missing_ok=True)


def _await(service: Service) -> None:
    for _ in range(120):
        if service.ready():
            return
        if not running(service):
            break
        time.sleep(0.25)
    raise Trouble(f"{service.name} did not come up:\n{_tail(service)}")


def _tail(service: Service) -> str:
    if _systemd():
        return run(["journalctl", "-n", "12", "--no-pager", "-u", service.name])
    log = LOG / f"{service.name}.log"
    return "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else ""


def _listens(port: int) -> bool:
    wanted = f":{port:04X} "
    return any(
        wanted in line and " 0A " in line
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if os.path.exists(table)
        for line in Path(table).read_text().splitlines()
    )


def _pidfile(service: Service) -> str:
    return f"/run/skep/{service.name}.pid"


def _write_unit(service: Service) -> None:
    text = unit_of(service)
    unit = UNITS / f"{service.name}.service"
    if unit.exists() and unit.read_text() == text:
        return
    unit.write_text(text)
    run(["systemctl", "daemon-reload"])
    say(f"wrote {unit}")


def unit_of(service: Service) -> str:
    """Helper first, engine after it; a restart of one never stops another. What outlives its service stays in the
    service's control group: systemd must neither end it nor count all guests' threads against the limit of one
    service, nor end the service because the kernel ended a guest that was too large."""
    after = "network.target" if service is HELPER else f"{HELPER.name}.service"
    return f"""[Unit]
Description={service.title}
After={after}

[Service]
User={service.user}
ExecStart={" ".join(service.argv)}
Environment=PYTHONUNBUFFERED=1
Restart=on-failure
RestartSec=2
{KEPT if service.keep else "NoNewPrivileges=yes"}
{"RuntimeDirectory=skepd" if service is ENGINE else ""}

[Install]
WantedBy=multi-user.target
"""
