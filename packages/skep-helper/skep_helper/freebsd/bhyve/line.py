"""The guard's end of a serial line on nmdm(4).

Output that comes before this end is open is lost; an end left as it is made (echo, line mode) sends the guest's output
back to it as input; one without CLOCAL fails when bhyve goes, for instance at every reboot of the guest. There is no
end-of-file when bhyve dies.
"""

from __future__ import annotations

import os
import termios

PREFIX = "skep."


def device(guest: str, side: str) -> str:
    """side: A for bhyve, B for the guard."""
    return f"/dev/nmdm{PREFIX}{guest}.{side}"


def open_line(path: str) -> tuple[int, int]:
    """Open without waiting for the other end, and set up. Returns two descriptors of it, so that reading and writing
    can be waited for apart. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        make_raw(descriptor)
        return descriptor, os.dup(descriptor)
    except (OSError, termios.error) as error:
        os.close(descriptor)
        raise OSError(f"{path}: {error}") from None


def make_raw(descriptor: int) -> None:
    """Bytes as they are, both ways; no echo, no signals, no carrier needed."""
    attributes = termios.tcgetattr(descriptor)
    attributes[0] = termios.IGNBRK
    attributes[1] = 0
    attributes[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
    attributes[3] = 0
    attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
