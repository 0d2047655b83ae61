"""What Skep relies on, seen on OpenZFS itself: volumes and their device nodes, clones, rollback, promote, streams."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from zfs_lab import Refused, await_node, names, zfs, zpool

MIB = 1 << 20


def write(node: Path, text: bytes, place: int = 0) -> None:
    with node.open("r+b", buffering=0) as device:
        device.seek(place)
        device.write(text.ljust(4096, b"."))
        os.fsync(device.fileno())


def read(node: Path, place: int = 0) -> bytes:
    with node.open("rb", buffering=0) as device:
        device.seek(place)
        return device.read(4096).rstrip(b".")


def test_a_volume_has_a_node_and_takes_what_is_written(pool: str) -> None:
    volume = f"{pool}/disk"
    zfs("create", "-s", "-V", "64M", volume)
    node = await_node(volume)
    write(node, b"one", MIB)
    assert read(node, MIB) == b"one"
    assert zfs("get", "-Hp", "-o", "value,source", "volmode", volume).split("\t") == [
        "dev",
        f"inherited from {pool.partition('/')[0]}\n",
    ]


def test_clone_rollback_promote(pool: str) -> None:
    master, copy = f"{pool}/master", f"{pool}/copy"
    zfs("create", "-s", "-V", "64M", master)
    write(await_node(master), b"one")
    zfs("snapshot", f"{master}@a")
    write(await_node(master), b"two")
    zfs("clone", f"{master}@a", copy)
    assert read(await_node(copy)) == b"one"
    zfs("rollback", f"{master}@a")
    assert read(await_node(master)) == b"one"
    with pytest.raises(Refused, match="dependent clones"):
        zfs("destroy", "-r", master)
    zfs("promote", copy)
    assert f"{copy}@a" in names("-r", "-t", "snapshot", pool)
    zfs("destroy", master)
    assert names("-r", pool) == {pool, copy}


def test_an_interrupted_stream_goes_on_by_its_token(pool: str) -> None:
    source, target = f"{pool}/source", f"{pool}/target"
    zfs("create", "-s", "-V", "64M", source)
    node = await_node(source)
    with node.open("r+b") as device:
        device.write(os.urandom(24 * MIB))
    zfs("snapshot", f"{source}@a")
    stream = subprocess.run(["zfs", "send", f"{source}@a"], capture_output=True, check=True).stdout
    cut = subprocess.run(["zfs", "receive", "-s", target], input=stream[: 8 * MIB], capture_output=True, check=False)
    assert cut.returncode
    token = zfs("get", "-H", "-o", "value", "receive_resume_token", target).strip()
    rest = subprocess.run(["zfs", "send", "-t", token], capture_output=True, check=True).stdout
    assert len(rest) < len(stream)
    subprocess.run(["zfs", "receive", "-s", target], input=rest, check=True)
    with node.open("rb") as one, await_node(target).open("rb") as other:
        assert one.read() == other.read()


def test_the_pool_tells_how_it_is(pool: str) -> None:
    assert zpool("list", "-Hp", "-o", "health", pool.partition("/")[0]).strip() == "ONLINE"
