"""Disks of guests."""

from __future__ import annotations

import click

from .objects import list_command
from .options import Size, change_options, name_argument
from .output import size
from .session import Session, pass_session
from .work import carry_out


@click.group()
def disk() -> None:
    """Disks of guests: list, grow."""


disk.add_command(
    list_command(
        "disks",
        ("GUEST", "DISK", "SIZE", "USED", "FORMAT", "EDITION", "IMAGE"),
        lambda found: (
            found["guest"],
            found["name"],
            size(found["status"].get("size", found["size"])),
            size(found["status"].get("allocated")),
            found["status"].get("format", found["format"]),
            found["edition"],
            found["image"],
        ),
        right=("SIZE", "USED"),
    )
)


@disk.command()
@name_argument("guests", "guest")
@click.argument("disk_name", metavar="DISK")
@click.argument("new_size", metavar="SIZE", type=Size())
@change_options
@pass_session
def grow(session: Session, guest: str, disk_name: str, new_size: int, wait: bool) -> None:
    """Grow a disk to SIZE (e.g. 20G), also of a running guest. A disk never shrinks."""
    body = {"disk": disk_name, "size": new_size}
    carry_out(session, "POST", ("guests", guest, "actions", "grow"), body, wait=wait)
