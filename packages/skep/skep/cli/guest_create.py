"""Guests and what belongs to them: ports that are made and removed with their guest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from skep.client import path
from skep.errors import Refused

from .failures import COMMAND_LINE
from .session import Session
from .settings_text import TOML, definition, text_of
from .work import carry_out

NEW = {"If-None-Match": "*"}


def create_guest(
    session: Session, name: str, settings: tuple[str, ...], file: Path | None, wait: bool, flags: dict[str, Any]
) -> None:
    """Ports first, because a guest is connected to ports that exist; they go again if the guest cannot be made."""
    networks = [network.partition("=") for network in flags["networks"]]
    body, headers, source = definition(settings, file)
    if file is None:
        body += _from_flags(name, flags, len(networks), any(key.startswith("cloud-init") for key in settings)).encode()
    elif any(value for key, value in flags.items() if key != "start"):
        raise click.UsageError("give flags or --file, not both; edit the file")
    made: list[str] = []
    try:
        for number, (network, _, address) in enumerate(networks):
            port = f"{name}.{number}"
            given = [f"network={_text(network)}", f"guest={_text(name)}"]
            given += [f"addresses={_text(address)}"] if address else []
            text = text_of(tuple(given)).encode()
            carry_out(session, "PUT", ("ports", port), text, headers={**TOML, **NEW}, query={"file": COMMAND_LINE})
            made.append(port)
        carry_out(session, "PUT", ("guests", name), body, headers={**headers, **NEW}, query={"file": source}, wait=wait)
    except Refused:
        for port in made:
            session.client.request("DELETE", path("ports", port))
        raise


def delete_guest(session: Session, name: str, take_over: bool, wait: bool) -> None:
    """The guest, then the ports that say they are its own."""
    query = {"take_over": take_over or None}
    ports = [port["name"] for port in session.get("ports") if port["guest"] == name]
    carry_out(session, "DELETE", ("guests", name), query=query, wait=wait or bool(ports))
    for port in ports:
        try:
            carry_out(session, "DELETE", ("ports", port), query=query, wait=wait)
        except Refused as error:
            if error.status != 404:  # the server may have removed it with its guest
                raise


def _from_flags(name: str, flags: dict[str, Any], networks: int, has_cloud_init: bool) -> str:
    """The definition that flags mean, as TOML; tables come last. A guest with a network is told its addresses."""
    keys = [file.expanduser().read_text(encoding="utf-8").strip() for file in flags["keys"]]
    given = {
        "power": None if flags["start"] else '"off"',
        "memory": f'"{flags["memory"]}B"' if flags["memory"] else None,
        "cpus": flags["cpus"],
        "cloud-init.user": _text(flags["user"]) if flags["user"] else None,
        "cloud-init.ssh-keys": _text(keys) if keys else None,
    }
    if networks and not (keys or flags["user"] or has_cloud_init):
        given["cloud-init"] = "{}"
    lines = [f"{key} = {value}" for key, value in given.items() if value is not None]
    if flags["image"] or flags["disk_size"]:
        lines += ["[[disk]]", 'name = "root"']
        lines += [f"image = {_text(flags['image'])}"] if flags["image"] else []
        lines += [f'size = "{flags["disk_size"]}B"'] if flags["disk_size"] else []
    for number in range(networks):
        lines += ["[[nic]]", f"port = {_text(f'{name}.{number}')}"]
    return "".join(f"{line}\n" for line in lines)


def _text(value: Any) -> str:
    """A text or a list of texts as TOML, which here is as JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
