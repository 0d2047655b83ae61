"""A whole guest: an operating system from an image, on a network, with its agent; frozen, probed, shut down."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests_lab import DIGEST, Lab, lab
from skep_helper.handlers import Context
from skep_helper.linux import network, storage
from skep_helper.vocabulary.guest import DiskDevice, NicDevice, OpenAgent, Probe, StopGuest
from skep_helper.vocabulary.network import (
    ApplyNetwork,
    ApplyPort,
    NetworkSpec,
    PortSpec,
    RemoveNetwork,
    RemovePort,
    Subnet,
)
from skep_helper.vocabulary.storage import (
    CreateDisk,
    CreateGuestFolder,
    OpenImageWriter,
    PublishImage,
    SnapshotGuest,
    WriteSeed,
)

IMAGE = Path(os.environ.get("SKEP_TEST_CACHE", "/var/tmp/skep-test-cache")) / "skep-small/skep-small.raw"
NAME = f"gt{os.getpid()}"
MAC, ADDRESS = "52:54:00:09:09:09", "10.99.7.9"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not IMAGE.exists(), reason="tools/build_image.py has not made the image yet"),
]


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    with lab() as made:
        made.handlers.update({**storage.HANDLERS, **network.HANDLERS})
        subnet = Subnet(prefix="10.99.7.0/24", own="10.99.7.1", dhcp=False)
        spec = NetworkSpec(name=NAME, digest=DIGEST, kind="isolated", subnets=(subnet,))
        made.do(ApplyNetwork(network=spec))
        port = PortSpec(
            name=f"{NAME}.lan", network=NAME, digest=DIGEST, rules_digest=DIGEST, mac=MAC, addresses=(ADDRESS,),
            filtered=False,
        )  # fmt: skip
        made.do(ApplyPort(port=port))
        try:
            prepare_disks(made)
            yield made
        finally:
            made.do(StopGuest(guest=NAME, timeout=0))
            made.do(RemovePort(port=port.name, network=NAME))
            made.do(RemoveNetwork(network=NAME))


def prepare_disks(site: Lab) -> None:
    size = IMAGE.stat().st_size
    context = Context(policy=site.policy, peer_uid=0)
    site.handlers[OpenImageWriter](context, OpenImageWriter(image="small", version="1", format="raw", size=size))
    (writer,) = context.answer_descriptors
    with open(IMAGE, "rb") as source, open(writer, "wb") as target:
        shutil.copyfileobj(source, target)
    site.do(PublishImage(image="small", version="1", format="raw", digest="ab" * 32))
    site.do(CreateGuestFolder(guest=NAME))
    site.do(CreateDisk(guest=NAME, disk="system", size=256 << 20, image="small", version="1"))
    site.do(CreateDisk(guest=NAME, disk="data", size=64 << 20))
    config = {"version": 2, "ethernets": {"lan": {"match": {"macaddress": MAC}, "addresses": [f"{ADDRESS}/24"]}}}
    site.do(
        WriteSeed(
            guest=NAME, user_data="#cloud-config\n", meta_data="instance-id: one\nlocal-hostname: probed\n",
            network_config=json.dumps(config),
        )
    )  # fmt: skip


def test_a_guest_from_boot_to_shutdown(site: Lab) -> None:
    disks = (DiskDevice(disk="system", slot=0), DiskDevice(disk="data", slot=1))
    nics = (NicDevice(port=f"{NAME}.lan", slot=2, mac=MAC),)
    site.start(NAME, memory=256 << 20, disks=disks, nics=nics, seed=True, agent=True)
    at_once = site.do(Probe(kind="agent", guest=NAME, timeout=1))
    assert not at_once.passed
    assert "did not answer" in at_once.detail
    where = {"guest": NAME, "network": NAME, "address": ADDRESS}
    site.until(lambda: site.do(Probe(kind="agent", guest=NAME)).passed)
    assert "answered in" in site.until(lambda: (got := site.do(Probe(kind="ping", **where))).passed and got).detail
    site.until(lambda: site.do(Probe(kind="tcp", port=22, **where)).passed)
    assert "refused" in site.do(Probe(kind="tcp", port=9, **where)).detail
    nobody = site.do(Probe(kind="ping", **{**where, "address": "10.99.7.77"}, timeout=1))
    assert not nobody.passed
    with site.open(OpenAgent(guest=NAME)) as agent:
        assert "return" in ask(agent, "guest-ping")
    assert site.do(SnapshotGuest(guest=NAME, snapshot="alive")) == {"frozen": True}
    with site.open(OpenAgent(guest=NAME)) as agent:
        assert ask(agent, "guest-fsfreeze-status") == {"return": "thawed"}
    site.do(StopGuest(guest=NAME, timeout=100, force=False))
    ended = site.reading(NAME)
    assert (ended.state, ended.ending) == ("stopped", "power-off")


def ask(agent: socket.socket, command: str) -> object:
    agent.sendall(json.dumps({"execute": command}).encode() + b"\n")
    with agent.makefile("rb") as lines:
        return json.loads(lines.readline())
