"""Images: those of the host by the server; publishing and verifying happen here, without any server."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from .failures import CANNOT_CREATE, DATA, Failed
from .objects import list_command, show_command, state
from .options import change_options, name_argument, sure, take_over_option, yes_option
from .output import size
from .session import Session, pass_session
from .work import carry_out

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def image() -> None:
    """Images: list, pull, publish, verify, remove."""


image.add_command(
    list_command(
        "images",
        ("NAME", "VERSION", "STATE", "FORMAT", "SIZE", "USERS", "MANAGER"),
        lambda found: (
            found["name"],
            found["version"],
            state(found),
            found["status"].get("format"),
            size(found["status"].get("size")),
            found["status"].get("users"),
            found["manager"],
        ),
        right=("SIZE", "USERS"),
    )
)
image.add_command(show_command("images"))


@image.command()
@click.argument("name", metavar="NAME:VERSION")
@click.argument("sources", nargs=-1, required=True, metavar="URL...")
@change_options
@pass_session
def pull(session: Session, name: str, sources: tuple[str, ...], wait: bool) -> None:
    """Fetch an image from the first URL that has it, and verify it. A URL is a folder of published images."""
    plain, sign, version = name.partition(":")
    if not sign:
        raise click.UsageError(f"{name!r} has no version; write {name}:VERSION")
    body = {"version": version, "sources": list(sources)}
    carry_out(session, "POST", ("images", plain, "pull"), body, wait=wait)


@image.command()
@name_argument("images")
@take_over_option
@yes_option
@change_options
@pass_session
def remove(session: Session, name: str, take_over: bool, yes: bool, wait: bool) -> None:
    """Remove an image from the host; disks must not be based on it."""
    session.get("images", name)
    sure(f"This removes image {name} from the host.", yes)
    carry_out(session, "DELETE", ("images", name), query={"take_over": take_over or None}, wait=wait)


@image.command()
@click.argument("source", type=FILE)
@click.option(
    "--to", "folder", required=True, type=FOLDER, help="Folder of published images; any web server serves it."
)
@click.option("--key", required=True, type=FILE, help="Private key that signs (ssh-keygen -t ed25519).")
@click.option("--name", required=True, help="Name of the image.")
@click.option("--image-version", "version", required=True, help="Its version.")
@click.option("--os", "os_name", default="linux", show_default=True, help="Operating system.")
@click.option("--format", "form", type=click.Choice(["raw", "qcow2", "zfs", "iso"]), help="Default: by looking at it.")
@click.option("--zstd", is_flag=True, help="Compress.")
def publish(
    source: Path, folder: Path, key: Path, name: str, version: str, os_name: str, form: str | None, zstd: bool
) -> None:
    """Publish a file as NAME/VERSION with a signed manifest."""
    from skep.images import inspect, manifest, signature
    from skep.images import zstd as compression
    from skep.images.publish import PublishError
    from skep.images.publish import publish as publish_image

    refused = (manifest.ManifestError, inspect.InspectError, signature.SignatureError, compression.ZstdError)
    with Bar(f"publishing {name} {version}") as bar:
        try:
            made = publish_image(
                source, folder, key=key, name=name, version=version, os_name=os_name, form=form, compress=zstd,
                progress=bar.show,
            )  # fmt: skip
        except refused as error:
            raise Failed(str(error), DATA) from None
        except PublishError as error:
            raise Failed(str(error), CANNOT_CREATE) from None
    click.echo(f"published {made.name} {made.version}: {size(made.size)}, {made.format}", err=True)


@image.command()
@click.argument("folder", type=FOLDER)
@click.argument("name", metavar="NAME:VERSION")
@click.option("--allowed-signers", required=True, type=FILE, help="See ALLOWED SIGNERS in ssh-keygen(1).")
def verify(folder: Path, name: str, allowed_signers: Path) -> None:
    """Check a published image completely: signature, manifest, every chunk."""
    from skep.images import manifest, signature, zstd
    from skep.images.verify import VerifyError
    from skep.images.verify import verify as verify_image

    plain, _, version = name.partition(":")
    wrong = (manifest.ManifestError, signature.SignatureError, VerifyError, zstd.ZstdError)
    with Bar(f"verifying {name}") as bar:
        try:
            found, principal = verify_image(folder, plain, version, allowed_signers=allowed_signers, progress=bar.show)
        except wrong as error:
            raise Failed(str(error), DATA) from None
    click.echo(f"{found.name} {found.version} is as {principal} signed it", err=True)


class Bar:
    """Progress of work that happens here, on terminals only."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._moves = os.isatty(sys.stderr.fileno())
        self._next = 0.0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._moves:
            click.echo("\r\x1b[K", nl=False, err=True)

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._moves and now >= self._next:
            self._next = now + 0.1
            click.echo(f"\r\x1b[K  {self._title}  {size(done)} of {size(total)}", nl=False, err=True)
