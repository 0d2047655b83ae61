"""The guest image: built here, signed, published in a folder that a web server shows."""

from __future__ import annotations

from .commands import run, show
from .places import BUILD, IMAGE_NAME, IMAGE_VERSION, PUBLISHED, PYTHON, REPOSITORY, SIGNING_KEY, tool
from .progress import Trouble, step


def publish() -> None:
    """Build and publish once; a published version never changes."""
    if (PUBLISHED / IMAGE_NAME / IMAGE_VERSION / "manifest.json").exists():
        return
    with step("build the guest image from Debian's packages"):
        builder = REPOSITORY / "tools" / "build_image.py"
        if show([PYTHON, builder, "--output", BUILD, "--keep-packages"]) != 0:
            raise Trouble("the guest image could not be built; the lines above say why")
    with step("sign and publish the image"):
        argv = [tool("python"), "-m", "skepd.images.publish", BUILD / "skep-small.qcow2", "--folder", PUBLISHED]
        argv += ["--name", IMAGE_NAME, "--version", IMAGE_VERSION, "--os", "linux", "--format", "qcow2"]
        run([*argv, "--key", SIGNING_KEY])
