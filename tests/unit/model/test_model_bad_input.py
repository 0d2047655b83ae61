"""Every kind of bad input gives an error that names file, line (marked by #! in the text) and what to write."""

import pytest
from skepd.model.errors import DefinitionError
from skepd.model.site_reader import parse_site

HEAD = """\
[host]
name = "h"
forwarding = true
[uplink.eth1]
trunk = [10, 11]
[image.base]
version = "1"
[filter.admin]
rules = ["in tcp 22"]
[network.lan]
subnet = "10.1.0.0/24"
[network.wan]
kind = "nat"
subnet = "10.2.0.0/24"
[guest.one]
[[guest.one.nic]]
network = "lan"
addresses = "10.1.0.2"
[[guest.one.nic]]
network = "wan"
addresses = "10.2.0.2"
"""

NETWORK = "[network.n]\n"
GUEST = "[guest.two]\n"
NIC = GUEST + "[[guest.two.nic]]\n"
ROUTER = """\
[router.r]
[[router.r.leg]]
network = "wan"
addresses = "10.2.0.9/24"
snat = true
[[router.r.leg]]
network = "lan"
addresses = "10.1.0.9/24"
"""
FORWARD = '[[router.r.forward]]\nprotocol = "tcp"\noutside-port = 80\ninside-port = 80\n'

CASES = {
    # spelling and types
    "unknown section": ("[gest.two] #!", "no such section", '"guest"'),
    "unknown key": (GUEST + 'memry = "1G" #!', "guest.two.memry", '"memory"'),
    "unknown key in a list": (GUEST + "[[guest.two.disk]]\nsiz = 3 #!\nimage = 'base'", "disk[0].siz", '"size"'),
    "unknown key in an inline table": (GUEST + "cpus = { core = 2 } #!", "cpus.core", '"cores"'),
    "no table": ("[guest]\ntwo = 3 #!", "not a table", "["),
    "text for number": (GUEST + 'cpus = "2" #!', "cpus", "cpus = 2"),
    "number for size": (GUEST + "memory = 512 #!", "not a size", '"512M"'),
    "truth value for size": (GUEST + "memory = true #!", "not a size", '"256M"'),
    "text for truth value": (GUEST + 'tpm = "yes" #!', "true or false", "without quotes"),
    "text for list": (GUEST + 'passthrough = "x" #!', "not a list", "brackets"),
    "one table for tables": (GUEST + "[guest.two.disk] #!\nsize = '1G'", "list of tables", "[[...disk]]"),
    "number for duration": (GUEST + "boot = { delay = 5 } #!", "duration", '"5s"'),
    "wrong word": (GUEST + 'power = "onn" #!', "power", '"on"'),
    "date": (GUEST + "memory = 2024-01-01 #!", "not a size", "256M"),
    "not TOML": (GUEST + "memory = = #!", "not TOML", "correct"),
    "control character": (GUEST + r'description = "a\u0007b" #!', "control character (U+0007)", "one line"),
    "newline": (GUEST + r'description = "a\nb" #!', "control character (U+000A)", "one line"),
    # names
    "duplicate guest": ("[guest.one] #!", "guest.one is there twice, first in line 15", "another name"),
    "duplicate key": (GUEST + 'memory = "1G"\nmemory = "2G" #!', "memory is there twice", "keep one"),
    "slash in name": ('[guest."a/b"] #!', '"a/b" is not a name', '"a-b"'),
    "long name": (f"[guest.{'x' * 65}] #!", "is not a name", "x" * 63),
    "capitals": ("[network.Office] #!", "not a name", '"office"'),
    "duplicate disk name": (
        GUEST + "[[guest.two.disk]]\nname = 'd'\nsize = '1G'\n[[guest.two.disk]]\nname = 'd' #!\nsize = '1G'",
        'name "d"',
        "another",
    ),
    "duplicate nic name": (
        NIC + "network = 'lan'\nname = 'a'\n[[guest.two.nic]] #!\nnetwork = 'lan'\nname = 'a'",
        'port "two.a" already',
        "another name",
    ),
    "port like a nic's": (
        '[port."two.0"]\nnetwork = "lan"\n' + NIC.replace("]]", "]] #!") + "network = 'lan'",
        'port "two.0" already',
        "another name",
    ),
    # references
    "missing network": (NIC + 'network = "lam" #!', 'no network "lam"', '"lan"'),
    "missing image": (GUEST + "[[guest.two.disk]]\nimage = 'bose' #!", 'no image "bose"', '"base"'),
    "missing filter": (NIC + 'network = "lan"\nfilters = ["amin"] #!', 'no filter "amin"', '"admin"'),
    "missing guest in after": (GUEST + 'boot = { after = ["on"] } #!', 'no guest "on"', '"one"'),
    "missing port": (NIC + 'port = "two.x" #!', 'no port "two.x"', "known are"),
    "missing filter in a rule": ("[filter.f]\nrules = ['in tcp 1 from filter g'] #!", 'no filter "g"', "admin"),
    "no network": (GUEST + "[[guest.two.nic]] #!\nmodel = 'virtio'", "network is missing", "network ="),
    "port and network": (NIC + 'port = "one.0"\nnetwork = "lan" #!', "belongs to a port", "leave out port"),
    "port of another guest": (NIC + 'port = "one.0" #!', "guest one already", "port of its own"),
    "cycle": (
        '[guest.a]\nboot = { after = ["c"] } #!\n[guest.b]\nboot.after = "a"\n[guest.c]\nboot.after = "b"',
        "a -> c -> b -> a",
        'take "c" out',
    ),
    "after itself": ('[guest.a]\nboot = { after = ["a"] } #!', "a -> a", "take"),
    # what only one may have
    "one MAC twice": (
        NIC + 'network = "lan"\nmac = "02:00:00:00:00:01"\n[[guest.two.nic]]\nnetwork = "lan"\n'
        'mac = "02:00:00:00:00:01" #!',
        "has the MAC address",
        "leave it out",
    ),
    "multicast MAC": (NIC + 'network = "lan"\nmac = "03:00:00:00:00:01" #!', "unicast MAC", "02:"),
    "MAC with capitals": (NIC + 'network = "lan"\nmac = "02-AA-00-00-00-01" #!', "lower case", '"02:aa:00:00:00:01"'),
    "one device twice": (
        '[guest.a]\npassthrough = ["0000:03:00.0"]\n[guest.b]\npassthrough = ["0000:03:00.0"] #!',
        "guest a already",
        "another device",
    ),
    "one address twice": (NIC + 'network = "lan"\naddresses = "10.1.0.2" #!', "port one.0", "free"),
    "the network's address": (NIC + 'network = "lan"\naddresses = "10.1.0.1" #!', "network lan itself", "free"),
    "two networks on an uplink": (
        '[network.a]\nkind = "flat"\nuplink = "eth1"\n[network.b]\nkind = "flat"\nuplink = "eth1" #!',
        "network a is on",
        "another uplink",
    ),
    "one VLAN twice": (
        '[network.a]\nkind = "vlan"\nuplink = "eth1"\nvlan = 10\n[network.b]\nkind = "vlan"\nuplink = "eth1"\n'
        "vlan = 10 #!",
        "network a is on VLAN 10",
        "another vlan",
    ),
    # guests
    "no CPU": (GUEST + "cpus = 0 #!", "out of range", "1 to 256"),
    "absurd CPUs": (GUEST + "cpus = { sockets = 64, cores = 200 } #!", "12800 CPUs", "256"),
    "tiny memory": (GUEST + 'memory = "1M" #!', "too small", '"16M"'),
    "disk without size": (GUEST + "[[guest.two.disk]] #!\nname = 'd'", "neither size nor image", "size ="),
    "one slot twice": (
        GUEST + "[[guest.two.disk]]\nsize = '1G'\nslot = 1\n[[guest.two.disk]]\nsize = '1G'\nslot = 1 #!",
        "slot 1 already",
        "leave it out",
    ),
    "gate without text": (GUEST + "boot = { gate = { kind = 'serial' } } #!", "needs text", "text ="),
    "gate without port": (GUEST + "boot = { gate = { kind = 'tcp' } } #!", "needs port", "port ="),
    "gate with too much": (GUEST + "boot = { gate = { kind = 'agent', port = 3 } } #!", "has no port", "leave it out"),
    "gate without address": (GUEST + "boot = { gate = { kind = 'ping' } } #!", "cannot reach the guest", "own ="),
    "no ssh key": (GUEST + "cloud-init = { ssh-keys = ['hello'] } #!", "SSH public key", ".pub"),
    "private key": (GUEST + "cloud-init = { ssh-keys = ['-----BEGIN OPENSSH PRIVATE KEY-----'] } #!", "SSH", ".pub"),
    "user-data and more": (
        GUEST + "[guest.two.cloud-init]\nuser-data = '#cloud-config'\nuser = 'a' #!",
        "user-data is used",
        "leave out user",
    ),
    # networks
    "VLAN 0": (NETWORK + 'kind = "vlan"\nuplink = "eth1"\nvlan = 0 #!', "between 1 and 4094", "reserved"),
    "VLAN 4095": (NETWORK + 'kind = "vlan"\nuplink = "eth1"\nvlan = 4095 #!', "between 1 and 4094", "reserved"),
    "unknown uplink": (NETWORK + 'kind = "flat"\nuplink = "eth2" #!', 'no uplink "eth2"', '"eth1"'),
    "VLAN outside the trunk": (NETWORK + 'kind = "vlan"\nuplink = "eth1"\nvlan = 12 #!', "carry VLAN 12", "10, 11"),
    "vlan without uplink": ('[network.n] #!\nkind = "vlan"\nvlan = 10', "needs uplink", "uplink ="),
    "vxlan without vni": ('[network.n] #!\nkind = "vxlan"\nlocal = "192.0.2.1"', "needs vni", "vni ="),
    "isolated with uplink": (NETWORK + 'uplink = "eth1" #!', "has no uplink", 'kind = "vlan"'),
    "host bits": (NETWORK + 'subnet = "10.3.0.1/24" #!', "bits after its prefix length", '"10.3.0.0/24"'),
    "no prefix": (NETWORK + 'subnet = "10.3.0.0/33" #!', "not a prefix", "10.0.0.0/24"),
    "overlapping subnets": (NETWORK + 'subnet = ["10.3.0.0/16", "10.3.4.0/24"] #!', "overlap", "in common"),
    "gateway outside": (
        NETWORK + "subnet = { prefix = '10.3.0.0/24', gateway = '10.4.0.1' } #!",
        "gateway",
        "10.3.0.254",
    ),
    "broadcast as own": (NETWORK + "subnet = { prefix = '10.3.0.0/24', own = '10.3.0.255' } #!", "own", "10.3.0.1"),
    "half a range": (NETWORK + "subnet = { prefix = '10.3.0.0/24', first = '10.3.0.9' } #!", "first and last", "both"),
    "empty range": (
        NETWORK + "subnet = { prefix = '10.3.0.0/24', first = '10.3.0.9', last = '10.3.0.8' } #!",
        "empty",
        "lower",
    ),
    "range over own": (
        NETWORK + "subnet = { prefix = '10.3.0.0/24', first = '10.3.0.1', last = '10.3.0.8' } #!",
        "own address",
        "without",
    ),
    "address in range": (
        NETWORK
        + "subnet = { prefix = '10.3.0.0/24', first = '10.3.0.5', last = '10.3.0.8' }\n"
        + NIC
        + "network = 'n'\naddresses = ['10.3.0.6'] #!",
        "dynamic",
        "outside",
    ),
    "address outside": (NIC + "network = 'lan'\naddresses = ['10.9.0.6'] #!", "no host's address", "10.1.0.0/24"),
    "host address outside": (
        NETWORK + "subnet = '10.3.0.0/24'\nhost-address = '10.4.0.1/24' #!",
        "no subnet",
        "10.3.0.0",
    ),
    "host address taken": (
        NETWORK + "subnet = '10.3.0.0/24'\nhost-address = '10.3.0.1/24' #!",
        "network itself",
        "another",
    ),
    "DHCP without own": (
        NETWORK + "subnet = { prefix = '10.3.0.0/24', own = 'none', dhcp = true } #!",
        "needs an address",
        "dhcp = false",
    ),
    "nat without subnet": (NETWORK + 'kind = "nat"', "needs a subnet", "subnet ="),
    "IPv6 with small MTU": (NETWORK + 'subnet = "fd00:3::/64"\nmtu = 1000 #!', "too small for IPv6", "1280"),
    # filters
    "icmp with ports": ("[filter.f]\nrules = ['in icmp 22'] #!", "icmp has no ports", "tcp"),
    "any with ports": ("[filter.f]\nrules = ['in any 22'] #!", "any has no ports", "tcp"),
    "families": ("[filter.f]\nrules = ['in ipv6 tcp 22 from 10.0.0.0/8'] #!", "do not go together", "ipv4"),
    "in to": ("[filter.f]\nrules = ['in tcp 22 to 10.0.0.0/8'] #!", "do not go together", "from"),
    "port 0": ("[filter.f]\nrules = ['in tcp 0'] #!", "no port", "65535"),
    "ports backwards": ("[filter.f]\nrules = ['in tcp 9-8'] #!", "no port", "8000-8100"),
    "rule with host bits": ("[filter.f]\nrules = ['in tcp 9 from 10.0.0.1/8'] #!", "no prefix", "host bits"),
    "no direction": ("[filter.f]\nrules = ['tcp 22'] #!", "no direction", '"in"'),
    "no protocol": ("[filter.f]\nrules = ['in tpc 22'] #!", "no protocol", '"tcp"'),
    "second rule": ("[filter.f]\nrules = [\n  'in tcp 22',\n  'in tcp 22 form 10.0.0.0/8', #!\n]", "form", '"from"'),
    # routers
    "no leg": ("[router.r] #!", "needs a leg", "[[router.r.leg]]"),
    "two legs in one network": (
        ROUTER + "[[router.r.leg]]\nnetwork = 'lan' #!\naddresses = '10.1.0.10/24'",
        "two legs",
        "one leg",
    ),
    "overlapping legs": (
        ROUTER + "[[router.r.leg]]\nnetwork = 'm'\naddresses = '10.1.0.10/16' #!\n[network.m]",
        "overlap",
        "common",
    ),
    "leg's address taken": (ROUTER.replace('"10.1.0.9/24"', '"10.1.0.2/24" #!'), "port one.0", "free"),
    "floating outside": (
        ROUTER + "[[router.r.floating]]\noutside = '10.5.0.7' #!\ninside = '10.1.0.2'",
        "no leg with snat",
        "snat = true",
    ),
    "forward to nobody": (
        ROUTER + FORWARD + "outside = '10.2.0.9'\ninside = '10.1.0.3' #!",
        "no guest has the address",
        "10.1.0.2",
    ),
    "forward from elsewhere": (
        ROUTER + FORWARD + "outside = '10.2.0.8' #!\ninside = '10.1.0.2'",
        "no address of the router",
        "10.2.0.9",
    ),
    "route by nobody": (
        ROUTER + "[[router.r.route]]\nprefix = '10.9.0.0/16'\nvia = '10.8.0.1' #!",
        "no neighbour",
        "network of one",
    ),
    # the host's sections
    "unknown guest in a schedule": (
        "[schedule.s]\nguests = ['too'] #!\ntimes = '07:00'\nkeep = { last = 1 }",
        'no guest "too"',
        "one",
    ),
    "time": ("[schedule.s]\nguests = '*'\ntimes = ['25:00'] #!\nkeep = { last = 1 }", "time of day", '"07:00"'),
    "nothing kept": ("[schedule.s]\nguests = '*'\ntimes = '07:00'\nkeep = {} #!", "nothing would be kept", "daily"),
    "unknown schedule": (
        "[replication.r]\nguests = '*'\ntarget = 'https://h/'\nschedule = 's' #!",
        'no schedule "s"',
        "no schedule yet",
    ),
    "host VLAN on nothing": ("[vlan.v]\nuplink = 'igb0' #!\nvlan = 3", 'no uplink "igb0"', "eth1"),
    "one device in two mirrors": (
        "[storage]\nbackend = 'zfs'\npool = 'p'\nmirrors = [['a', 'b'],\n ['c', 'a']] #!",
        "another mirror",
        "once",
    ),
    "pool for files": ("[storage]\npool = 'p' #!", "no pool", 'backend = "zfs"'),
    "role": ("[user.u]\nrole = 'root' #!", "is not one of", "known are admin"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str) -> None:
    text, problem, hint = CASES[name]
    whole = HEAD + text + "\n"
    with pytest.raises(DefinitionError) as caught:
        parse_site(whole, "site.toml")
    error = caught.value.errors[0]
    assert problem in error.problem, str(caught.value)
    assert hint in error.hint, str(caught.value)
    assert error.file == "site.toml"
    if "#!" in text:
        assert error.line == 1 + next(n for n, line in enumerate(whole.splitlines()) if "#!" in line), str(error)
    assert str(error).startswith(f"site.toml:{error.line}: ")


def test_the_head_alone_is_good() -> None:
    site = parse_site(HEAD + ROUTER, "site.toml")
    assert list(site.desired.guests) == ["one"]


def test_all_errors_of_a_file_come_together_in_its_order() -> None:
    text = HEAD + "[guest.two]\nmemory = 5\ncpus = 'x'\n[guest.'/']\n[network.n]\nvlan = 0\n"
    with pytest.raises(DefinitionError) as caught:
        parse_site(text, "f")
    assert [error.line for error in caught.value.errors] == [23, 24, 25, 27]
    assert len(str(caught.value).splitlines()) == 4


def test_nat_needs_the_administrators_leave() -> None:
    with pytest.raises(DefinitionError, match="forwarding = true"):
        parse_site(HEAD.replace("forwarding = true\n", ""), "f")


def test_host_is_required() -> None:
    with pytest.raises(DefinitionError, match=r"f:1: the section \[host\] is missing"):
        parse_site("", "f")
