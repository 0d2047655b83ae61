"""Pull of an image against `curl | sha256sum` of the same file, from one server on loopback, in alternating rounds.

    uv run python bench/bench_image_pull.py [--mib 512] [--rounds 5] [--folder FOLDER]

The pull does more than its peer: it digests each byte twice (its chunk, and the whole read back from the file),
writes the file and syncs it. Prints the ratio of the medians; the limit is 1.25. For machines where sha256sum is
slow, `openssl dgst` is measured as a second peer, which has no limit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _report import report
from skep.images.manifest import Manifest
from skep.images.publish import publish
from skep_helper.vocabulary import StorageReading
from skepd.images.pull import pull

LIMIT = 1.25


class PlainHost:
    """skepd.host.Host for one image in a file; publishing is a rename, as it is for the real one."""

    def __init__(self, folder: Path) -> None:
        self.part, self.shown = folder / "part", folder / "shown"

    def perform(self, requests: Sequence[Any], progress: object = None) -> tuple[Any, ...]:
        for request in requests:
            if type(request).__name__ == "PublishImage":
                self.part.rename(self.shown)
        return tuple(StorageReading() if type(item).__name__ == "ReadStorage" else None for item in requests)

    def open(self, request: Any) -> tuple[None, int]:
        descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(descriptor, request.size)
        return None, descriptor


def prepare(folder: Path, mib: int) -> Manifest:
    source, key = folder / "source.raw", folder / "key"
    with open(source, "wb") as stream:
        for _ in range(mib):
            stream.write(os.urandom(1 << 20))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "signers").write_text(f"bench {key.with_suffix('.pub').read_text()}")
    manifest = publish(source, folder / "web", key=key, name="bench", version="1", os_name="other", form="raw")
    source.unlink()
    return manifest


def run_pull(folder: Path, url: str, manifest: Manifest) -> None:
    host = PlainHost(folder)
    done = pull(host, "bench", "1", [url], folder / "signers")  # type: ignore[arg-type]
    assert done.digest == manifest.sha256
    assert host.shown.stat().st_size == manifest.size


def run_peer(command: list[str], url: str, manifest: Manifest) -> None:
    with subprocess.Popen(["curl", "-sf", f"{url}/bench/1/{manifest.file_name}"], stdout=subprocess.PIPE) as curl:
        result = subprocess.run(command, stdin=curl.stdout, capture_output=True, check=True)
    assert manifest.sha256 in result.stdout.decode()


def measure(work: Callable[[], None]) -> float:
    # What earlier rounds left to be written must not be paid by this one.
    os.sync()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder when not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skep-bench-image-", dir=options.folder) as name:
        folder = Path(name)
        manifest = prepare(folder, options.mib)
        with subprocess.Popen(
            [sys.executable, "-m", "skepd.images.serve", str(folder / "web")], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            try:
                compare(folder, server.stdout.readline().split()[-1], manifest, options.rounds)
            finally:
                server.terminate()


def compare(folder: Path, url: str, manifest: Manifest, rounds: int) -> None:
    peers = {"curl | sha256sum": ["sha256sum"]}
    if shutil.which("openssl"):
        peers["curl | openssl dgst -sha256"] = ["openssl", "dgst", "-sha256"]
    times: dict[str, list[float]] = {"pull": [], **{name: [] for name in peers}}
    for _ in range(rounds):
        for name, command in peers.items():
            times[name].append(measure(lambda command=command: run_peer(command, url, manifest)))  # type: ignore[misc]
        times["pull"].append(measure(lambda: run_pull(folder, url, manifest)))
        (folder / "shown").unlink()
    middle = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in middle.items():
        print(f"image of {manifest.size >> 20} MiB, {name}: {seconds:.3f} s (median of {rounds})")
    ratios = {name: middle["pull"] / middle[name] for name in peers}
    first, *others = ratios.items()
    report(f"image pull, {manifest.size >> 20} MiB", first[1], LIMIT, peer=first[0])
    for name, ratio in others:
        print(f"image pull / {name}: {ratio:.2f} (no limit)")


if __name__ == "__main__":
    main()
