"""What OpenZFS of FreeBSD 13.2 wrote: lists parsed, every refusal understood."""

from __future__ import annotations

import pytest
from bhyve_transcripts import blocks
from skep_helper.zfs import features, listing
from skep_helper.zfs.tool import explain

BLOCKS = blocks("02-zfs.txt")
BY_COMMAND = {block.command: block for block in [*BLOCKS, *blocks("03-zfs-send.txt")]}
REFUSED = (
    ("zpool status nosuch", "missing", "zpool import nosuch"),
    ("zfs list zroot/nosuch", "missing", "it is not there"),
    ("zfs create zroot/vm", "exists", "zroot/vm: dataset already exists"),
    ("zfs create -V 100G zroot/vm/toobig", "full", "zfs list -o space zroot"),
    ("zfs clone -o volmode=dev zroot/vm/disk0@s1 zroot/vm/clone1", "exists", "remove or rename it first"),
    ("zfs clone zroot/vm/disk0@nosuch zroot/vm/clone3", "missing", "zroot/vm/disk0@nosuch"),
    ("zfs destroy zroot/vm/disk0@s1", "conflict", "(zroot/vm/clone2, zroot/vm/clone1); promote them"),
    ("zfs destroy -r zroot/vm/disk0", "conflict", "dependent clones"),
    ("zfs destroy zroot/vm/disk0@nosuch", "missing", "it is not there"),
    ("zfs rename zroot/vm/disk0 zroot/vm/sparse", "exists", "zroot/vm/disk0"),
    ("zfs rollback zroot/vm/disk0@s2", "conflict", "zfs list -t snapshot,bookmark zroot/vm/disk0@s2"),
    ("zfs rollback zroot/vm/disk0@nosuch", "missing", "it is not there"),
    ("zfs release keep zroot/vm/disk0@s1", "missing", "no such tag"),
    ("zfs snapshot zroot/vm/disk0@s1", "exists", "zroot/vm/disk0@s1"),
    ("zfs promote zroot/vm/clone1", "failed", "not a cloned filesystem"),
    ("zfs set volsize=1000000 zroot/vm/sparse", "failed", "must be a multiple of volume block size"),
)


@pytest.mark.parametrize(("command", "code", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_recorded_refusal(command: str, code: str, words: str) -> None:
    errors = [block.stderr for block in BLOCKS if block.command == command and block.exit]
    failure = explain(command, errors[0])
    assert failure.code == code, failure
    assert words in failure.message


def test_busy_devices_and_file_systems() -> None:
    texts = [line for block in BLOCKS for line in block.stderr.splitlines() if "is busy" in line]
    assert len(texts) >= 4
    for text in texts:
        failure = explain("zfs", text)
        assert (failure.code, "fuser" in failure.message) == ("busy", True), failure


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("cannot destroy snapshot tank/skep/images/debian:12@skep: dataset is busy", "conflict", "zfs release TAG"),
        ("cannot open 'tank/skep': pool I/O is currently suspended", "failed", "zpool clear tank"),
        ("cannot create 'tank/x': permission denied", "failed", "by root"),
        ("cannot set property for 'tank/x': size is greater than available space", "full", "free some space"),
        ("cannot open 'tank/x': dataset does not exist\nusage:\n\tsnapshot ...", "missing", "tank/x"),
        ("", "failed", "no message"),
    ],
)
def test_what_was_not_recorded(text: str, code: str, words: str) -> None:
    """As libzfs has these texts."""
    failure = explain("zfs destroy", text)
    assert (failure.code, words in failure.message) == (code, True), failure


def test_a_recorded_list() -> None:
    tree = listing.parse(BY_COMMAND["zfs list -t all -r -Hp -o name,type zroot"].stdout, ("name", "type"))
    assert {entry.leaf for entry in tree.below("zroot/vm")} == {"bad", "def", "disk0", "geom", "none", "sparse", "thin"}
    assert [entry.leaf for entry in tree.snapshots("zroot/vm/disk0")] == ["s1", "rec1", "s1b"]
    assert {entry.kind for entry in tree.entries.values()} == {"filesystem", "volume", "snapshot"}


def test_recorded_snapshots_in_the_order_of_their_making() -> None:
    columns = ("name", "creation", "used", "refer", "guid", "createtxg")
    command = f"zfs list -t snapshot -Hp -o {','.join(columns)} -s creation zroot/vm/disk0"
    first, *_, last = listing.parse(BY_COMMAND[command].stdout, columns).entries.values()
    assert (first.created, first.txg, first.dataset) == (1_795_198_783, 77, "zroot/vm/disk0")
    assert first.txg < last.txg


def test_lists_that_cannot_be() -> None:
    from skep_helper.handlers import Failure

    with pytest.raises(Failure, match="2 columns"):
        listing.parse("a\tb\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("zroot\tONLINE\t0\n", ""),
        ("zroot\tDEGRADED\t0%\n", "zpool status zroot"),
        ("zroot\tSUSPENDED\t10\n", "zpool clear"),
        ("zroot\tONLINE\t95\n", "95 % full"),
    ],
)
def test_how_the_pool_is(line: str, words: str) -> None:
    told = features.judge(line)
    assert words in told
    assert bool(told) == bool(words)
