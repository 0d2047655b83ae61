"""What both platforms read alike: SMART by smartctl(8), pools by zpool(8). Parsers are pure and never raise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from .handlers import Failure
from .run import attempt
from .vocabulary.fields import Rejected
from .vocabulary.inventory import DriveReading, PoolReading, SmartReading

Attempt = Callable[[Sequence[str]], str]
POOLS = ("zpool", "list", "-Hp", "-o", "name,size,alloc,frag,health")
_BAD_ATTRIBUTES = (5, 187, 197, 198)
"""Reallocated, reported uncorrectable, pending, offline uncorrectable sectors (ATA)."""
_MOST_DRIVES, _PATIENCE = 128, 30.0
NO_SMARTCTL = "smartctl is not installed; install smartmontools"
_LONGEST = 256


def text_of(argv: Sequence[str]) -> str:
    """What a tool says; "" when this host does not have it, or it does not end."""
    try:
        return attempt(argv, timeout=_PATIENCE).output.decode(errors="replace")
    except Failure:
        return ""


def plain(text: object) -> str:
    """One line without control characters, as the vocabulary's short texts are."""
    words = " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else "?" for sign in words)[:_LONGEST]


def number(text: object) -> int:
    try:
        return max(0, int(str(text)))
    except ValueError:
        return 0


def with_smart(drives: Sequence[DriveReading], ask: Attempt = text_of) -> tuple[tuple[DriveReading, ...], str]:
    """The drives with their health, and why it is not known of any. One process finds what can be asked, and then one
    asks each device: smartctl takes one at a time."""
    found = _json(ask(["smartctl", "--scan", "-j"]))
    if not found:
        return tuple(drives), NO_SMARTCTL
    devices = [one for one in _list(found.get("devices")) if isinstance(one, dict) and _is_device(one.get("name"))]
    answers = [_json(ask(_question(one))) for one in devices[:_MOST_DRIVES]]
    return tuple(_matched(drive, answers) for drive in drives), ""


def _is_device(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"/dev/[A-Za-z0-9][A-Za-z0-9/_-]*", name) is not None


def _question(device: dict[str, Any]) -> list[str]:
    kind = str(device.get("type", "auto"))
    kind = kind if re.fullmatch(r"[a-z0-9_,+]{1,32}", kind) else "auto"
    return ["smartctl", "-j", "-i", "-H", "-A", "-n", "standby", "-d", kind, str(device["name"])]


def _matched(drive: DriveReading, answers: Iterable[dict[str, Any]]) -> DriveReading:
    """By serial number, because a disk may have one name for smartctl and another for the system (nvme0, nda0)."""
    for answer in answers:
        device = answer.get("device")
        name = device.get("name") if isinstance(device, dict) else None
        serial = plain(answer.get("serial_number", ""))
        if name == f"/dev/{drive.name}" or (serial and serial == drive.serial):
            model = drive.model or plain(answer.get("model_name", ""))
            return replace(drive, smart=smart(answer), model=model, serial=drive.serial or serial)
    return drive


def smart(answer: dict[str, Any]) -> SmartReading:
    """From one answer of `smartctl -j -i -H -A`."""
    status, nvme = _table(answer, "smart_status"), _table(answer, "nvme_smart_health_information_log")
    attributes = _list(_table(answer, "ata_smart_attributes").get("table"))
    passed = status.get("passed")
    health = "unknown" if not isinstance(passed, bool) else "passed" if passed else "failed"
    messages = [plain(one.get("string", "")) for one in _list(_table(answer, "smartctl").get("messages"))]
    reason = "; ".join(messages) if health == "unknown" else ""
    worn = nvme.get("percentage_used", -1)
    bad = number(nvme.get("media_errors", 0)) + sum(
        number(_table(one, "raw").get("value", 0)) for one in attributes if one.get("id") in _BAD_ATTRIBUTES
    )
    temperature = _table(answer, "temperature").get("current", 0)
    try:
        return SmartReading(
            health=health,
            reason=plain(reason or ("" if health != "unknown" else "it does not say")),
            worn=worn if isinstance(worn, int) else -1,
            bad=bad,
            hours=number(_table(answer, "power_on_time").get("hours", 0)),
            temperature=temperature if isinstance(temperature, int) else 0,
        )
    except Rejected as error:
        return SmartReading(health="unknown", reason=plain(error))


def pools(listing: str, status: str) -> tuple[PoolReading, ...]:
    """From `zpool list` (POOLS) and `zpool status`."""
    said = _said(status)
    found = []
    for line in listing.splitlines():
        fields = line.split("\t")
        if len(fields) == 5:
            words = said.get(fields[0], {})
            errors = words.get("errors", "")
            problem = words.get("status", "") or ("" if errors.startswith("No known") else errors)
            found.append(
                PoolReading(
                    name=plain(fields[0]), size=number(fields[1]), allocated=number(fields[2]),
                    fragmentation=min(number(fields[3]), 100), health=plain(fields[4]), problem=plain(problem),
                    scan=plain(words.get("scan", "")),
                )
            )  # fmt: skip
    return tuple(found)


def _said(status: str) -> dict[str, dict[str, str]]:
    """What `zpool status` says of each pool, by its words (state, status, scan, errors), joined when they go on."""
    found: dict[str, dict[str, str]] = {}
    words: dict[str, str] = {}
    last = ""
    for line in status.splitlines():
        match = re.match(r"^ *([a-z]+): ?(.*)$", line)
        if match:
            last, value = match.groups()
            if last == "pool":
                words = found.setdefault(value.strip(), {})
            words[last] = value.strip()
        elif line.startswith("\t") and last in ("status", "action", "scan"):
            words[last] = f"{words.get(last, '')} {line.strip()}".strip()
        elif not line.strip() and last != "config":
            last = ""
    return found


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _table(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _list(value: object) -> list[Any]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
