"""One line for each thing worth telling, on standard error, where the service manager collects it.

Text that came from outside is escaped, so that nobody writes lines of his own. Values of fields are not logged
(user data carries passwords): a refusal is told with the type of the request and the reason alone.
"""

from __future__ import annotations

import os
import time

_LONGEST = 600


def escaped(text: str) -> str:
    """Printable ASCII only, at most 600 characters."""
    out = text.encode("ascii", "backslashreplace").decode("ascii")[:_LONGEST]
    return "".join(char if " " <= char <= "~" else f"\\x{ord(char):02x}" for char in out)


def line(event: str, **words: object) -> None:
    """Write an event, e.g. ``line("refused", uid=1000, request="StopGuest", reason="...")``. Never raises OSError:
    a helper whose log is gone (disk full, pipe closed) must go on working."""
    shown = " ".join(f"{key}={escaped(str(value))}" for key, value in words.items())
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    try:
        os.write(2, f"{stamp} skep-helper {event} {shown}\n".encode())
    except OSError:
        return
