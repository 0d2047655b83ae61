"""What to open in a browser: at first a link that makes the administrator, once."""

from __future__ import annotations

import json

from .commands import run
from .places import GATEWAY_PORT, GATEWAY_STATE, PAGE, tool

FIRST = f"""\
In a browser, once, within an hour, to make the administrator (`skep user link` prints a new link):
  {{link}}
  The certificate is of this machine's own CA: let the browser trust {GATEWAY_STATE / "ca.pem"}, or go on
  at its warning. Only this machine is served; from elsewhere: ssh -L {GATEWAY_PORT}:localhost:{GATEWAY_PORT} HOST"""
AFTERWARDS = f"In a browser: {PAGE} (a forgotten password is set by `skep user password NAME`)"


def invitation() -> str:
    """The link while there is no administrator; afterwards the pages' address. No link is made without need: a new
    one ends the one before it."""
    users = json.loads(run([tool("skep"), "user", "list", "--json"]))
    if any(user["role"] == "admin" for user in users):
        return AFTERWARDS
    made = json.loads(run([tool("skep"), "user", "link", "--json"]))
    return FIRST.format(link=made["url"])
