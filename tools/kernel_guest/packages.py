"""Debian packages, fetched with apt and unpacked, not installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KERNEL = "linux-image-cloud-amd64"


@dataclass(frozen=True)
class Apt:
    """apt with this machine's configuration, and these options."""

    options: tuple[str, ...] = ()

    def versions(self, *packages: str) -> dict[str, str]:
        """The version of each that apt would fetch; without those that it does not know."""
        shown = self._run("apt-cache", "show", "--no-all-versions", *packages).stdout
        return dict(re.findall(r"^Package: (\S+)$.*?^Version: (\S+)$", shown, re.MULTILINE | re.DOTALL))

    def kernel(self) -> str:
        """The release of Debian's current cloud kernel, as `uname -r` will say it."""
        found = re.search(r"Depends: linux-image-(\S+)", self._run("apt-cache", "depends", KERNEL).stdout)
        if found is None:
            raise SystemExit(f"apt knows no {KERNEL}: run apt-get update")
        return found.group(1)

    def unpack(self, packages: Sequence[str], folder: Path) -> None:
        """Fetch packages and lay their files into `folder`, which is emptied first."""
        shutil.rmtree(folder, ignore_errors=True)
        archives = folder / "archives"
        archives.mkdir(parents=True)
        print(f"fetching {', '.join(packages)}", flush=True)
        self._run("apt-get", "download", "-q", *packages, folder=archives)
        for archive in archives.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        shutil.rmtree(archives)

    def _run(self, program: str, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        argv = [program, *self.options, "-oAPT::Sandbox::User=root", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            raise SystemExit(f"{program} {' '.join(words)}: {done.stderr.strip()[-2000:]}")
        return done


def with_contrib(folder: Path) -> Apt:
    """apt with Debian's `main` and `contrib` from the mirrors that this machine uses, and with lists of its own in
    `folder`: the machine's are not touched."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text("".join(sorted(_debian_sources())))
    if not sources.read_text():
        raise SystemExit("apt has no source of Debian itself: run apt-get update on a Debian machine")
    apt = Apt((
        f"-oDir::Etc::SourceList={sources}", "-oDir::Etc::SourceParts=/dev/null", f"-oDir::State::Lists={lists}",
        "-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache=",
    ))  # fmt: skip
    done = subprocess.run(["apt-get", *apt.options, "-q", "update"], capture_output=True, text=True, check=False)
    if done.returncode:
        # What was there before may do; if not, the next call says what is missing.
        print(f"apt-get update: {done.stderr.strip()[-500:]}", file=sys.stderr)
    return apt


def _debian_sources() -> set[str]:
    """Lines of a sources.list, read from apt itself, because sources are written in two forms."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "Created-By: Packages", "Origin: Debian", "Component: main"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = set()
    for target in targets.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in target.splitlines() if ": " in line)
        if fields:
            key = fields.get("Signed-By", "")
            signed = f" [signed-by={key}]" if key.startswith("/") else ""
            lines.add(f"deb{signed} {fields['Repo-URI']} {fields['Release']} main contrib\n")
    return lines
