"""A guest made from flags, with ports of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from skep.client import path
from skep.errors import ClientError, Refused

from .failures import COMMAND_LINE, Failed
from .session import Session
from .settings_text import TOML, definition, text_of
from .work import carry_out

NEW = {"If-None-Match": "*"}


def create_guest(
    session: Session, name: str, settings: tuple[str, ...], file: Path | None, wait: bool, flags: dict[str, Any]
) -> None:
    """One request, or with networks the guest, then its ports, then the cards that join the two."""
    if file is not None and any(value for key, value in flags.items() if key != "start"):
        raise click.UsageError("give flags or --file, not both; edit the file")
    body, headers, source = definition(settings, file)
    networks = [network.partition("=") for network in flags["networks"]]
    power = [] if flags["start"] and not networks else ['power = "off"']
    if file is None:
        body = "".join(f"{line}\n" for line in [body.decode(), *power, *_lines(flags, settings)]).encode()
    query = {"file": source}
    wait_here = wait or bool(networks)
    carry_out(session, "PUT", ("guests", name), body, headers={**headers, **NEW}, query=query, wait=wait_here)
    if not networks:
        return
    try:
        _connect(session, name, networks)
        start = 'power = "on"\n' if flags["start"] else ""
        cards = start + "".join(f"[[nic]]\nport = {_text(f'{name}.{number}')}\n" for number in range(len(networks)))
        query = {"file": COMMAND_LINE}
        carry_out(session, "PATCH", ("guests", name), cards.encode(), headers=TOML, query=query, wait=wait)
    except (Failed, Refused) as error:
        _give_up(session, name)
        raise error


def _connect(session: Session, name: str, networks: list[tuple[str, str, str]]) -> None:
    for number, (network, _, address) in enumerate(networks):
        given = [f"network={_text(network)}", f"guest={_text(name)}"]
        given += [f"addresses={_text(address)}"] if address else []
        body, headers = text_of(tuple(given)).encode(), {**TOML, **NEW}
        carry_out(session, "PUT", ("ports", f"{name}.{number}"), body, headers=headers, query={"file": COMMAND_LINE})


def _give_up(session: Session, name: str) -> None:
    """Remove the guest that could not be completed; its ports go with it. The first error is the one to tell."""
    try:
        session.client.request("DELETE", path("guests", name), query={"wait": 20})
    except ClientError as error:
        click.echo(f"skep: guest {name} is left half made ({error}); `skep guest delete {name}`", err=True)


def _lines(flags: dict[str, Any], settings: tuple[str, ...]) -> list[str]:
    """The definition that flags mean, as TOML; tables come last. A guest with a network is told its addresses."""
    keys = [file.expanduser().read_text(encoding="utf-8").strip() for file in flags["keys"]]
    given = {
        "memory": f'"{flags["memory"]}B"' if flags["memory"] else None,
        "cpus": flags["cpus"],
        "cloud-init.user": _text(flags["user"]) if flags["user"] else None,
        "cloud-init.ssh-keys": _text(keys) if keys else None,
    }
    if flags["networks"] and not (keys or flags["user"] or any(key.startswith("cloud-init") for key in settings)):
        given["cloud-init"] = "{}"
    lines = [f"{key} = {value}" for key, value in given.items() if value is not None]
    if flags["image"] or flags["disk_size"]:
        lines += ["[[disk]]", 'name = "root"']
        lines += [f"image = {_text(flags['image'])}"] if flags["image"] else []
        lines += [f'size = "{flags["disk_size"]}B"'] if flags["disk_size"] else []
    return lines


def _text(value: Any) -> str:
    """A text or a list of texts as TOML, which here is as JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
