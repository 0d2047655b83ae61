"""`skep-prepare`: what a machine needs for a site, as JSON, without a server; `skep host prepare` prints it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from skepd.model.errors import DefinitionError
from skepd.model.site_reader import parse_site
from skepd.platform.here import here
from skepd.platform.preparing import prepare

EX_DATAERR, EX_UNAVAILABLE, EX_IOERR = 65, 69, 74


def main(arguments: Sequence[str] | None = None) -> int:
    """The site comes by standard input. Returns an exit code of sysexits(3)."""
    options = parser().parse_args(arguments)
    try:
        site = parse_site(sys.stdin.read(), options.file)
        found = prepare(site, here=here().name, check=options.check)
    except DefinitionError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EX_DATAERR
    except LookupError as error:
        print(f"skep-prepare: {error}", file=sys.stderr)  # noqa: T201
        return EX_UNAVAILABLE
    except OSError as error:
        print(f"skep-prepare: {error}", file=sys.stderr)  # noqa: T201
        return EX_IOERR
    print(json.dumps([dataclasses.asdict(need) for need in found]))  # noqa: T201
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="skep-prepare", description="What a machine needs for a site, as JSON.")
    made.add_argument("--file", default="site.toml", help="what errors shall call the text")
    made.add_argument("--check", action="store_true", help="look at this machine, and say which of it is there")
    return made


if __name__ == "__main__":
    sys.exit(main())
