"""The operations that the crash tests cut off."""

from __future__ import annotations

from crashes import Act, Scenario
from engine_world import GIB, define
from skepd.engine.contract import Operation
from skepd.engine.engine import Engine
from skepd.model.names import Kind, Manager, Ref

HOST = """
[host]
name = "laptop"
forwarding = true

[image.small]
version = "1"
sources = "http://127.0.0.1:1/"
"""

NETWORKS = """
[filter.web]
rules = ["in tcp 80", "in tcp 8000-8010 from filter web", "out any"]

[network.wan]
kind = "nat"
subnet = ["10.77.0.0/24", "fd77:5ce9::/64"]

[network.lan]
subnet = "10.78.0.0/24"

[[router.between.leg]]
network = "lan"
addresses = "10.78.0.2/24"
"""

GUEST = """
[guest.files]
memory = "192M"

[guest.files.boot]
gate = { kind = "serial", text = "starts", timeout = "10m" }

[guest.files.cloud-init]
commands = ["true"]

[[guest.files.disk]]
name = "system"
image = "small"

[[guest.files.disk]]
name = "data"
size = "1G"

[[guest.files.nic]]
name = "wan"
network = "wan"
addresses = "10.77.0.9"
filters = ["web"]

[[guest.files.nic]]
name = "lan"
network = "lan"
addresses = "10.78.0.9"
filters = ["web"]
"""

OTHER = """
[network.dmz]
subnet = "10.79.0.0/24"

[guest.other]
memory = "64M"

[[guest.other.disk]]
name = "system"
image = "small"

[[guest.other.nic]]
name = "lan"
network = "lan"
"""

CHANGED = (
    (HOST + NETWORKS + GUEST + OTHER)
    .replace('name = "laptop"', 'name = "notebook"')
    .replace('memory = "192M"', 'memory = "256M"')
    .replace('commands = ["true"]', 'commands = ["false"]')
    .replace('name = "data"\nsize = "1G"', 'name = "more"\nsize = "3G"')
    .replace(
        'name = "system"\nimage = "small"\n\n[[guest.files',
        'name = "system"\nsize = "2G"\nimage = "small"\n\n[[guest.files',
    )
    .replace('network = "wan"\naddresses = "10.77.0.9"', 'network = "dmz"\naddresses = "10.79.0.9"')
    .replace('[network.wan]\nkind = "nat"\nsubnet = ["10.77.0.0/24", "fd77:5ce9::/64"]', "")
    .replace('"in tcp 80"', '"in tcp 443"')
    .replace("10.78.0.2/24", "10.78.0.3/24")
)

UPLINK = """
[uplink.eth0]
[network.line]
kind = "flat"
uplink = "eth0"
"""


def site(text: str, restart: bool = False) -> Act:
    return lambda engine: engine.apply_site(text, "site.toml", restart=restart)


def delete(kind: Kind, name: str) -> Act:
    return lambda engine: engine.delete(Ref(kind, name), manager=Manager.SITE)


def put(kind: str, text: str) -> Act:
    return lambda engine: engine.put(define(kind, text), manager=Manager.USER)


def action(name: str, **options: object) -> Act:
    return lambda engine: engine.guest_action("files", name, options)


def clone(engine: Engine) -> Operation:
    return engine.guest_action("files", "clone", {"target": "twin"})


EVERYTHING = site(HOST + NETWORKS + GUEST)

SCENARIOS = [
    Scenario("create", EVERYTHING),
    Scenario("change", site(CHANGED, restart=True), (site(HOST + NETWORKS + GUEST + OTHER),)),
    Scenario("delete", site(HOST), (EVERYTHING,)),
    Scenario("delete-guest", delete(Kind.GUEST, "files"), (site(HOST + NETWORKS + GUEST + OTHER),)),
    Scenario(
        "put-network",
        put("network", 'name = "dmz"\n[[subnet]]\nprefix = "10.80.0.0/24"\ndhcp = false\n'),
        (EVERYTHING,),
    ),
    Scenario("stop", action("stop"), (EVERYTHING,)),
    Scenario("snapshot", action("snapshot", snapshot="a"), (EVERYTHING,)),
    Scenario(
        "rollback",
        action("rollback", snapshot="a"),
        (EVERYTHING, action("snapshot", snapshot="a")),
        written=lambda machine: machine.host.write_disk("files", "data", "after the snapshot"),
    ),
    Scenario("grow", action("grow", disk="data", size=2 * GIB), (EVERYTHING,)),
    Scenario("clone", clone, (EVERYTHING, action("stop"))),
    Scenario("confirm", site(HOST + UPLINK), (site(HOST + NETWORKS + GUEST),), confirm=True),
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
