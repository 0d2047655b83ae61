"""`skep guest export` and `import`, between two engines over simulated hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Cli
from running_api import serving
from skep_helper import vocabulary as v
from skepd.engine.engine import Engine, Settings
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Disk, Guest, Network, Nic, Port
from skepd.platform.sim import SimHost
from skepd.platform.sim.files import SimFiles

MIB = 1 << 20


class Site:
    """An engine over a simulated host with a network, and the command line for it."""

    def __init__(self, network: str) -> None:
        self.host = SimHost()
        self.engine = Engine(
            Settings(
                files=SimFiles(), state=Path("/state"), pool_guests=Path("/pool/guests"), connect=lambda: self.host,
                read_facts=lambda hello: self.host.facts(), pull=lambda *_, **__: None, version="test",
            )
        )  # fmt: skip
        self.put(Network(name=network, manager=Manager.USER))

    def put(self, value: Guest | Network | Port) -> None:
        done = self.engine.wait(self.engine.put(value, manager=Manager.USER).id, 60)
        assert done.state == "done", done

    def guest(self, name: str) -> Guest:
        found = self.engine.view(Ref(Kind.GUEST, name)).object
        assert isinstance(found, Guest)
        return found

    def reading(self, name: str) -> v.FolderReading:
        (reading,) = self.host.perform((v.ReadStorage(),))
        return next(folder for folder in reading.folders if folder.guest == name)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[tuple[Site, Cli], tuple[Site, Cli]]]:
    """A host with a running guest `web`, and an empty one whose network has another name."""
    source, target = Site("lan"), Site("office")
    disks = (Disk(name="root", size=64 * MIB), Disk(name="data", size=32 * MIB, edition="full"))
    source.put(Guest(name="web", disks=disks, power="off"))
    source.put(Port(name="web.0", network="lan", guest="web"))
    source.put(Guest(name="web", disks=disks, nics=(Nic(port="web.0"),)))
    with serving(source.engine) as one, serving(target.engine) as two:  # type: ignore[arg-type]
        yield (source, Cli(one, tmp_path)), (target, Cli(two, tmp_path))
    for site in (source, target):
        site.engine.close()


def test_a_guest_moves_in_a_file(sites: tuple[tuple[Site, Cli], tuple[Site, Cli]], tmp_path: Path) -> None:
    (source, there), (target, here) = sites
    file = tmp_path / "web.skep"
    done = there("guest", "export", "web", str(file))
    assert (done.code, "done: guest web" in done.err) == (0, True), done.err
    assert source.reading("web").snapshots == ()
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    refused = here("guest", "import", str(file))
    assert (refused.code, "lan" in refused.err) == (65, True), refused.err
    # What came is kept: only the definition is sent again.
    done = here("guest", "import", str(file), "--network", "lan=office", "--start")
    assert done.code == 0, done.err
    guest = target.guest("web")
    assert [(disk.name, disk.size, disk.edition) for disk in guest.disks] == [
        ("root", 64 * MIB, "thin"), ("data", 32 * MIB, "full"),
    ]  # fmt: skip
    assert guest.power == "on"
    port = target.engine.view(Ref(Kind.PORT, "web.0")).object
    assert isinstance(port, Port)
    assert (port.network, port.guest) == ("office", "web")
    folder = target.reading("web")
    assert (folder.promoted_here, {disk.disk for disk in folder.disks}) == (True, {"root", "data"})
    again = here("guest", "import", str(file), "--network", "lan=office")
    assert (again.code, "already" in again.err) == (73, True), again.err
    done = here("guest", "import", str(file), "--network", "lan=office", "--name", "copy")
    assert done.code == 0, done.err
    assert target.guest("copy").nics == (Nic(port="copy.0", slot=target.guest("copy").nics[0].slot),)
    assert target.guest("copy").power == "off"


def test_a_file_that_is_damaged_cut_or_none_of_ours(
    sites: tuple[tuple[Site, Cli], tuple[Site, Cli]], tmp_path: Path
) -> None:
    (_, there), (target, here) = sites
    file, bad = tmp_path / "web.skep", tmp_path / "bad.skep"
    assert there("guest", "export", "web", str(file)).code == 0
    data = file.read_bytes()
    head = len(data.split(b"\n", 1)[0])
    newer = json.dumps({**json.loads(data[:head]), "skep-guest": 2}).encode() + data[head:]
    for content, words in (
        (b"", "cut"),
        (b"\x7fELF" * 100, "no export"),
        (newer, "version 2"),
        (data[: len(data) // 2], "cut"),
        (data[:-1] + bytes([data[-1] ^ 1]), "damaged"),
    ):
        bad.write_bytes(content)
        done = here("guest", "import", str(bad), "--network", "lan=office")
        assert (done.code, words in done.err) == (65, True), (words, done.err)
        assert "web" not in target.engine._store.desired.guests
    done = here("guest", "import", str(file), "--network", "lan=office")
    assert done.code == 0, done.err


def test_an_export_that_fails_leaves_no_file(sites: tuple[tuple[Site, Cli], tuple[Site, Cli]], tmp_path: Path) -> None:
    (source, there), _ = sites
    file = tmp_path / "web.skep"
    done = there("guest", "export", "web", str(file), "--snapshot", "none")
    assert (done.code, "no snapshot 'none'" in done.err) == (66, True), done.err
    done = there("guest", "export", "nobody", str(file))
    assert done.code == 66
    assert list(tmp_path.glob("*.skep*")) == []
    assert source.reading("web").snapshots == ()
