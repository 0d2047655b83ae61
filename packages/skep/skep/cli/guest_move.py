"""Guests in files: export and import. The streams are ZFS's, so both hosts need it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from skep import guest_file
from skep.client import path
from skep.errors import Refused
from skep.guest_file import FileError

from .failures import DATA, Failed
from .output import size
from .session import Session
from .work import carry_out

_READ_ONLY = ("etag", "status", "manager")


def export(session: Session, name: str, target: Path, snapshot: str | None, raw: bool) -> None:
    """Written beside the target, and put in its place when it is whole."""
    guest = session.get("guests", name)
    taken = snapshot or time.strftime("export-%Y%m%d-%H%M%S")
    if snapshot is None:
        carry_out(session, "POST", ("guests", name, "snapshots"), {"name": taken, "quiesce": True})
    partial = target.with_name(f"{target.name}.partial")
    try:
        found = session.get("guests", name, "snapshots", taken)
        with partial.open("wb") as stream:
            _write(session, guest, found, stream, raw)
            os.fsync(stream.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        if snapshot is None:
            carry_out(session, "DELETE", ("guests", name, "snapshots", taken))
    click.echo(f"done: guest {name}, snapshot {taken}, in {target} ({size(target.stat().st_size)})", err=True)


def _write(session: Session, guest: dict[str, Any], snapshot: dict[str, Any], stream: BinaryIO, raw: bool) -> None:
    ports = [_plain(session.get("ports", nic["port"])) for nic in guest["nics"]]
    head = {"skep-guest": guest_file.VERSION, "guest": _alone(session, guest), "ports": ports}
    head |= {"snapshot": snapshot["name"], "disks": snapshot["disks"], "frozen": snapshot["frozen"]}
    guest_file.write_line(stream, head)
    where = path("guests", guest["name"], "snapshots", snapshot["name"], "stream")
    for disk in ("", *snapshot["disks"]):
        with session.client.download(where, {"disk": disk or None, "raw": raw or None}) as download:
            about = int(download.header("Skep-Size") or 0)
            guest_file.write_line(stream, {"disk": disk, "size": about})
            guest_file.write_part(stream, _shown(download.pieces(), disk or "folder", about))


def _alone(session: Session, guest: dict[str, Any]) -> dict[str, Any]:
    """The definition without what only its host has: images, media, guests that start before it."""
    sizes = {
        disk["name"]: disk["status"].get("size") for disk in session.get("disks") if disk["guest"] == guest["name"]
    }
    disks = [disk | {"image": None, "size": sizes.get(disk["name"]) or disk["size"]} for disk in guest["disks"]]
    return _plain(guest) | {"disks": disks, "media": [], "boot": guest["boot"] | {"after": []}}


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in _READ_ONLY}


def import_(
    session: Session, source: Path, name: str | None, networks: dict[str, str], start: bool, wait: bool
) -> None:
    try:
        with source.open("rb") as stream:
            head = guest_file.read_head(stream)
            guest, ports = _renamed(head, name, networks)
            _receive(session, guest["name"], head, stream)
    except FileError as error:
        raise Failed(f"{source}: {error}", DATA) from None
    body = {"guest": guest, "ports": ports}
    carry_out(session, "POST", ("guests", guest["name"], "replica", "promote"), body, wait=wait or start)
    if start:
        carry_out(session, "POST", ("guests", guest["name"], "actions", "start"), {}, wait=wait)


def _renamed(
    head: dict[str, Any], name: str | None, networks: dict[str, str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The guest, off, and its ports, under the new name and in the networks of this host."""
    guest, ports = head["guest"], head["ports"]
    old, new = guest["name"], name or guest["name"]
    called = {port["name"]: f"{new}{port['name'].removeprefix(old)}" for port in ports}
    for port in ports:
        port |= {"name": called[port["name"]], "guest": new, "network": networks.get(port["network"], port["network"])}
    nics = [nic | {"port": called.get(nic["port"], nic["port"])} for nic in guest["nics"]]
    return guest | {"name": new, "power": "off", "nics": nics}, ports


def _receive(session: Session, guest: str, head: dict[str, Any], stream: BinaryIO) -> None:
    """Each part that is not here already. What an interrupted import brought of one is thrown away: a file cannot go on
    where a stream ended, only the host it came from can."""
    snapshot = head["snapshot"]
    there = {part["disk"]: part for part in session.get("guests", guest, "replica")["parts"]}
    images = {disk["name"]: disk for disk in head["guest"]["disks"]}
    for _ in range(1 + len(head["disks"])):
        part = guest_file.read_part(stream)
        disk = part["disk"]
        pieces = _shown(guest_file.pieces(stream), disk or "folder", part["size"])
        known = there.get(disk, {"points": (), "token": ""})
        if any(point["name"] == snapshot for point in known["points"]):
            for _piece in pieces:
                """It is here; only what is behind it is wanted."""
            continue
        if known["token"]:
            session.client.request("DELETE", path("guests", guest, "replica"), query={"disk": disk or None})
        query: dict[str, Any] = {"frozen": head["frozen"]}
        if disk:
            query |= {"disk": disk, "edition": images.get(disk, {}).get("edition")}
        else:
            query |= {"disks": ",".join(head["disks"])}
        _upload(session, path("guests", guest, "replica", snapshot), pieces, query)


def _upload(session: Session, where: str, pieces: Iterable[bytes], query: dict[str, Any]) -> None:
    try:
        session.client.upload(where, pieces, query)
    except Refused as error:
        hint = error.hint or "what came whole is kept: repeat the import when that is mended"
        raise Refused(error.detail, hint, status=error.status, errors=error.errors) from None


def _shown(pieces: Iterable[bytes], what: str, about: int) -> Iterator[bytes]:
    """The same, with a line that moves on a terminal."""
    moves, done, last = sys.stderr.isatty(), 0, 0.0
    for piece in pieces:
        done += len(piece)
        if moves and time.monotonic() - last > 0.2:
            last = time.monotonic()
            total = f" of about {size(about)}" if about > done else ""
            click.echo(f"\r\x1b[K  {what}: {size(done)}{total}", nl=False, err=True)
        yield piece
    if moves:
        click.echo("\r\x1b[K", nl=False, err=True)
