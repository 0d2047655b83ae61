"""How long `skep` takes, beside what Python alone takes: `skep --version`, and `skep guest list` with 1,000 guests.

The server is skepd with its real engine over the simulated host. Prints ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import report

GUESTS = 1000
ROUNDS = 15
SKEP = str(Path(sys.executable).with_name("skep"))


def measure(commands: dict[str, list[str]], environment: dict[str, str]) -> dict[str, float]:
    """Median wall time in seconds of each command, all of them in turn so that all meet the same machine."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            began = time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, env=environment, check=True)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def site() -> str:
    guests = "".join(
        f'[guest.g{number:04}]\npower = "off"\n[[guest.g{number:04}.disk]]\nsize = "1G"\n'
        f'[[guest.g{number:04}.nic]]\nnetwork = "lan"\n'
        for number in range(GUESTS)
    )
    return f'[host]\nname = "sim"\n[network.lan]\nsubnet = "10.0.0.0/16"\n{guests}'


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="skep-bench-") as folder:
        socket = Path(folder) / "s"
        places = ["--state", f"{folder}/state", "--pool", f"{folder}/pool", "--socket", str(socket)]
        argv = [sys.executable, "-m", "skepd.daemon.main", "--simulate", *places]
        environment = {**os.environ, "SKEP_URL": f"unix:{socket}"}
        # As it is installed, compiled: whoever asks Python to keep no bytecode measures the compiler.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with open(Path(folder) / "log", "wb") as log:
            server = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            while not socket.exists() and server.poll() is None:
                time.sleep(0.05)
            subprocess.run([SKEP, "apply", "-", "--yes"], input=site().encode(), env=environment, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            show(environment)
        finally:
            server.terminate()
            server.wait(60)


def show(environment: dict[str, str]) -> None:
    commands = {
        "python3 -c pass": [sys.executable, "-c", "pass"],
        "python3 -c 'import click'": [sys.executable, "-c", "import click"],
        "skep --version": [SKEP, "--version"],
        f"skep guest list ({GUESTS} guests)": [SKEP, "guest", "list"],
    }
    found = measure(commands, environment)
    for name, seconds in found.items():
        print(f"{name:<32} {seconds * 1000:7.1f} ms")
    bare, click, version, listing = found.values()
    report("skep --version", version / click, 2, peer="python3 -c 'import click'")
    limit = (3 * bare + 0.150) * 1000
    report(f"skep guest list, {GUESTS} guests", listing * 1000, limit, "ms", "3 x python3 -c pass + 150 ms")


if __name__ == "__main__":
    main()
