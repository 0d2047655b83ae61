"""Images on OpenZFS: written unseen, sealed by a held snapshot, removed only when nobody needs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from skep_helper import zfs
from skep_helper.handlers import Failure
from skep_helper.storage.clusters import read_clusters
from skep_helper.vocabulary import AbandonImage, OpenImageWriter, PublishImage, Rejected, RemoveImage
from skep_helper.zfs import sources
from zfs_bench import DIGEST, MIB, Bench

IMAGES, INCOMING = "tank/skep/images", "tank/skep/incoming"
WRITER = OpenImageWriter(image="debian", version="12", format="raw", size=MIB)
PUBLISH = PublishImage(image="debian", version="12", format="raw", digest=DIGEST)


def test_the_words_of_publishing(bench: Bench) -> None:
    bench.zfs.calls.clear()
    bench.image()
    made, name = f"{INCOMING}/debian:12", f"{IMAGES}/debian:12"
    assert [call[1:] for call in bench.zfs.calls if call[1] != "list"] == [
        ["create", "-s", "-V", str(MIB), "-o", "volblocksize=16384", "-o", "skep:format=raw", made],
        ["set", "skep:format=raw", f"skep:digest={DIGEST}", made],
        ["snapshot", f"{made}@skep"],
        ["hold", "skep", f"{made}@skep"],
        ["rename", made, name],
    ]
    (found,) = bench.reading().images
    assert (found.image, found.version, found.format, found.size, found.digest) == ("debian", "12", "raw", MIB, DIGEST)
    assert sources.image_path(bench.policy, "debian", "12").endswith(f"{name}@skep")
    assert os.listdir(bench.pool / "incoming") == []


def test_versions_that_no_dataset_could_be_called_by(bench: Bench) -> None:
    bench.image(version="1.0+b2~rc-1")
    assert f"{IMAGES}/debian:1.0_pb2_trc-1" in bench.zfs.nodes
    assert bench.reading().images[0].version == "1.0+b2~rc-1"


def test_a_writer_that_stays_open_changes_nothing(bench: Bench) -> None:
    _, (descriptor,) = bench.ask_with(WRITER)
    os.pwrite(descriptor, b"one", 0)
    bench.ask(PUBLISH)
    os.pwrite(descriptor, b"two", 0)
    os.close(descriptor)
    path = Path(sources.image_path(bench.policy, "debian", "12"))
    assert path.read_bytes()[:3] == b"one"


def test_publishing_may_die_anywhere_and_be_repeated(bench: Bench) -> None:
    from fake_zfs import Died

    _, (descriptor,) = bench.ask_with(WRITER)
    os.close(descriptor)
    for number in range(1, 40):
        bench.zfs.calls.clear()
        bench.zfs.dies_at = number
        try:
            bench.ask(PUBLISH)
        except Died:
            bench.zfs.dies_at = 0
            assert len(bench.reading().images) <= 1
            continue
        bench.zfs.dies_at = 0
        break
    assert number > 5
    assert [image.digest for image in bench.reading().images] == [DIGEST]
    assert bench.zfs.nodes[f"{IMAGES}/debian:12@skep"].holds == {"skep"}
    assert not [name for name in bench.zfs.nodes if name.startswith(f"{INCOMING}/")]


def test_another_size_is_another_download(bench: Bench) -> None:
    _, (descriptor,) = bench.ask_with(WRITER)
    os.close(descriptor)
    with pytest.raises(Failure, match="abandon that first"):
        bench.ask(OpenImageWriter(image="debian", version="12", format="raw", size=2 * MIB))
    bench.ask(AbandonImage(image="debian", version="12"))
    assert not [name for name in bench.zfs.nodes if name.startswith(f"{INCOMING}/")]
    with pytest.raises(Failure, match="nothing was written"):
        bench.ask(PUBLISH)


def test_an_image_that_a_transfer_holds_stays(bench: Bench) -> None:
    bench.image()
    bench.zfs.zfs_hold("transfer", f"{IMAGES}/debian:12@skep")
    with pytest.raises(Failure, match="zfs holds") as caught:
        bench.ask(RemoveImage(image="debian", version="12"))
    assert caught.value.code == "conflict"
    bench.zfs.zfs_release("transfer", f"{IMAGES}/debian:12@skep")
    bench.ask(RemoveImage(image="debian", version="12"))
    assert bench.reading().images == ()


def test_an_image_in_use_keeps_its_hold(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.image()
    monkeypatch.setattr("skep_helper.zfs.tool._PATIENCE", 0.0)
    bench.zfs.busy[f"{IMAGES}/debian:12"] = 1
    with pytest.raises(Failure, match="is busy"):
        bench.ask(RemoveImage(image="debian", version="12"))
    assert bench.zfs.nodes[f"{IMAGES}/debian:12@skep"].holds == {"skep"}
    assert bench.reading().images


def test_an_iso_that_is_none_is_refused(bench: Bench) -> None:
    with pytest.raises(Rejected, match="not an ISO 9660 volume"):
        bench.image(format="iso")
    assert bench.reading().images == ()


@pytest.fixture
def qcow2(tmp_path: Path) -> tuple[bytes, bytes]:
    """A qcow2 file with compressed, plain and empty clusters, and the disk in it."""
    raw = tmp_path / "disk.raw"
    plain = bytes(range(256)) * 512
    raw.write_bytes(b"a" * 200_000 + bytes(500_000) + plain + bytes(3 * MIB))
    packed = tmp_path / "packed.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed], check=True)
    command = f"write -P 7 {MIB} 70000"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, packed], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", packed, raw], check=True)
    return packed.read_bytes(), raw.read_bytes()


def test_a_qcow2_file_becomes_a_volume(bench: Bench, qcow2: tuple[bytes, bytes]) -> None:
    packed, disk = qcow2
    bench.image(content=packed, format="qcow2")
    (found,) = bench.reading().images
    assert (found.format, found.size) == ("qcow2", zfs.creation.whole_blocks(len(disk), zfs.creation.BLOCK))
    path = Path(sources.image_path(bench.policy, "debian", "12"))
    assert path.read_bytes()[: len(disk)] == disk


def test_a_qcow2_file_that_was_cut_off(tmp_path: Path, qcow2: tuple[bytes, bytes]) -> None:
    packed, _ = qcow2
    path = tmp_path / "cut.qcow2"
    path.write_bytes(packed[: len(packed) // 2])
    descriptor = os.open(path, os.O_RDONLY)
    with pytest.raises(Rejected):
        list(read_clusters(descriptor))
    os.close(descriptor)
