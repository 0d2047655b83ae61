"""Publish an image from the command line: ``python -m skepd.images.publish SOURCE --folder F --name N ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from skep.images.inspect import InspectError
from skep.images.manifest import FORMATS, ManifestError
from skep.images.publish import PublishError, publish
from skep.images.signature import SignatureError
from skep.images.zstd import ZstdError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 published, 1 refused (the reason is on standard error), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m skepd.images.publish", description=__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the image file")
    parser.add_argument("--folder", type=Path, required=True, help="folder of published images")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--os", required=True, help="linux, freebsd, openbsd, windows, other")
    parser.add_argument("--key", type=Path, required=True, help="private key of ssh-keygen, or public key in the agent")
    parser.add_argument("--format", choices=FORMATS, help="by looking at the file when it is not given")
    parser.add_argument("--zstd", action="store_true", help="compress every chunk with zstd")
    options = parser.parse_args(arguments)
    try:
        manifest = publish(
            options.source,
            options.folder,
            key=options.key,
            name=options.name,
            version=options.version,
            os_name=options.os,
            form=options.format,
            compress=options.zstd,
        )
    except (PublishError, ManifestError, InspectError, SignatureError, ZstdError, OSError) as error:
        sys.stderr.write(f"not published: {error}\n")
        return 1
    sys.stdout.write(
        f"{manifest.name} {manifest.version}: {manifest.format}, {manifest.size} bytes, "
        f"{manifest.stored_size} on the web site, sha256 {manifest.sha256}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
