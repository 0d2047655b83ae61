"""The guest image skep-small, built from packages and started under UEFI in an emulated machine."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PARSER = REPOSITORY / "images/skep-small/rootfs/usr/lib/skep/yaml.awk"
CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
WAN, LAN = "52:54:00:00:00:01", "52:54:00:00:00:02"
# Generous: nothing here is about speed.
PATIENCE = 240

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(1200)]


def run(*argv: str | Path, text: str | None = None) -> str:
    return subprocess.run([str(part) for part in argv], input=text, check=True, capture_output=True, text=True).stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def build() -> Path:
    folder = Path(os.environ.get("SKEP_TEST_CACHE", "/var/tmp/skep-test-cache")) / "skep-small"
    out = run(sys.executable, REPOSITORY / "tools/build_image.py", "--output", folder, "--keep-packages")
    return Path(out.strip())


@pytest.fixture(scope="module")
def image() -> Path:
    if not shutil.which("qemu-system-x86_64") or not CODE.exists():
        pytest.skip("needs qemu-system-x86 and ovmf")
    return build()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
    return path


class Agent:
    """The guest agent's socket: one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def __call__(self, command: str, **arguments: object) -> object:
        request = {"execute": command, "arguments": arguments}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(self.lines.readline().lstrip(b"\xff"))["return"]


class Guest:
    """One folder with disks and seed, and the machine that runs on them."""

    def __init__(self, folder: Path, image: Path, key: Path) -> None:
        self.folder, self.key, self.port = folder, key, free_port()
        self.seed: Path | None = None
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", folder / "root.qcow2", "512M")
        run("qemu-img", "create", "-q", "-f", "raw", folder / "second.raw", "64M")
        shutil.copy(VARIABLES, folder / "vars.fd")

    def write_seed(self, **files: str) -> None:
        source = self.folder / "seed"
        source.mkdir(exist_ok=True)
        for name, content in files.items():
            (source / name.replace("_", "-")).write_text(content)
        self.seed = self.folder / "seed.iso"
        run("xorriso", "-as", "genisoimage", "-quiet", "-V", "CIDATA", "-J", "-r", "-o", self.seed, source)

    def _argv(self, cpus: int) -> list[str]:
        at = self.folder
        argv = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-smp", str(cpus), "-m", "256", "-nodefaults"]
        argv += ["-display", "none", "-vga", "std", "-serial", f"file:{at}/serial.log"]
        argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={CODE}"]
        argv += ["-drive", f"if=pflash,format=raw,file={at}/vars.fd"]
        argv += ["-drive", f"if=none,id=root,file={at}/root.qcow2", "-device", "virtio-blk-pci,drive=root,bootindex=1"]
        argv += ["-drive", f"if=none,id=second,format=raw,file={at}/second.raw"]
        argv += ["-device", "virtio-blk-pci,drive=second", "-device", "virtio-scsi-pci"]
        if self.seed:
            argv += [
                "-drive",
                f"if=none,id=seed,format=raw,readonly=on,file={self.seed}",
                "-device",
                "scsi-cd,drive=seed",
            ]
        argv += ["-netdev", f"user,id=wan,hostfwd=tcp:127.0.0.1:{self.port}-:22"]
        argv += ["-device", f"virtio-net-pci,netdev=wan,mac={WAN},romfile="]
        argv += ["-netdev", f"socket,id=lan,listen=127.0.0.1:{free_port()}"]
        argv += ["-device", f"virtio-net-pci,netdev=lan,mac={LAN},romfile=", "-device", "virtio-rng-pci"]
        argv += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={at}/agent,server=on,wait=off"]
        argv += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        return [*argv, "-qmp", f"unix:{at}/qmp,server=on,wait=off"]

    @contextmanager
    def running(self, cpus: int = 1) -> Iterator[subprocess.Popen[bytes]]:
        (self.folder / "serial.log").write_bytes(b"")
        machine = subprocess.Popen(self._argv(cpus))
        try:
            yield machine
        finally:
            machine.kill()
            machine.wait()

    def serial(self) -> str:
        return (self.folder / "serial.log").read_text(errors="replace").replace("\r", "")

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = re.search(pattern, self.serial(), re.MULTILINE)
            if found:
                return found
            time.sleep(0.1)
        pytest.fail(f"no {pattern!r} on the serial line:\n{self.serial()[-3000:]}")

    def ready(self) -> list[str]:
        return self.wait_for(r"^skep-small: ready (\S.*)$")[1].split()

    def ssh(self, command: str, user: str = "root") -> str:
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
        options += ["-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={PATIENCE}", "-p", str(self.port)]
        return run("ssh", "-i", self.key, *options, f"{user}@127.0.0.1", command)

    def press_power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.folder / "qmp"))
            lines = monitor.makefile("rb")
            lines.readline()
            for command in ("qmp_capabilities", "system_powerdown"):
                monitor.sendall(json.dumps({"execute": command}).encode() + b"\n")
                lines.readline()


@pytest.fixture
def make_guest(tmp_path: Path, image: Path, key: Path) -> Callable[[], Guest]:
    return lambda: Guest(tmp_path, image, key)


USER_DATA = """#cloud-config
users:
  - name: admin
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys:
      - KEY
ssh_authorized_keys: [KEY]
write_files:
  - path: /etc/site/motto
    permissions: '0640'
    content: |
      two words

      back\\slash
  - path: /etc/sysctl.d/forward.conf
    content: net.ipv6.conf.all.forwarding = 1
runcmd:
  - sysctl -w net.ipv4.ip_forward=1
  - [sh, -c, "echo once >> /root/runs"]
"""
NETWORK = f"""version: 2
ethernets:
  wan:
    match:
      macaddress: "{WAN.upper()}"
    dhcp4: true
  lan:
    match:
      macaddress: "{LAN}"
    set-name: lan0
    mtu: 1400
    addresses:
    - 10.7.0.1/24
    - "fd00:7::1/64"
    routes:
      - to: 10.8.0.0/16
        via: 10.7.0.254
    nameservers:
      addresses: [10.7.0.53]
"""


def check_first_boot(guest: Guest) -> None:
    name, *addresses = guest.ready()
    assert name == "gateway"
    assert {"10.7.0.1", "fd00:7::1"} < set(addresses)
    assert "gateway login:" in guest.serial()
    assert guest.ssh("hostname") == "gateway\n"
    assert guest.ssh("cat /etc/site/motto") == "two words\n\nback\\slash\n"
    assert guest.ssh("stat -c %a /etc/site/motto") == "640\n"
    assert guest.ssh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    assert "10.8.0.0/16 via 10.7.0.254 dev lan0" in guest.ssh("ip route")
    assert "nameserver 10.7.0.53" in guest.ssh("cat /etc/resolv.conf")
    assert guest.ssh("cat /sys/class/net/lan0/mtu") == "1400\n"
    assert guest.ssh("sudo id -u", user="admin") == "0\n"
    # The image is far smaller than this disk.
    assert int(guest.ssh("df -m / | tail -n 1 | tr -s ' ' | cut -d' ' -f2")) > 400


def check_agent(guest: Guest) -> None:
    agent = Agent(guest.folder / "agent")
    assert agent("guest-sync", id=4711) == 4711
    assert agent("guest-ping") == {}
    assert agent("guest-fsfreeze-freeze") == 2  # the root and the second disk
    assert agent("guest-fsfreeze-status") == "frozen"
    assert agent("guest-fsfreeze-thaw") == 2
    assert agent("guest-fsfreeze-status") == "thawed"


def test_a_seed_in_block_style_and_a_second_boot(make_guest: Callable[[], Guest]) -> None:
    guest = make_guest()
    public = guest.key.with_suffix(".pub").read_text().strip()
    guest.write_seed(
        meta_data="instance-id: one\nlocal-hostname: gateway\n",
        user_data=USER_DATA.replace("KEY", public),
        network_config=NETWORK,
    )
    with guest.running() as machine:
        check_first_boot(guest)
        guest.ssh("skep-mount /dev/vdb /mnt/second && mkdir /first && skep-records --count 20 /first /mnt/second")
        check_agent(guest)
        host_key = guest.ssh("sha256sum /etc/dropbear/host_key")
        guest.press_power_button()
        assert machine.wait(PATIENCE) == 0
    guest.seed = None  # what the seed said stays in force without its medium
    with guest.running(cpus=2):
        assert {"gateway", "10.7.0.1"} < set(guest.ready())
        assert guest.ssh("cat /root/runs") == "once\n"
        assert guest.ssh("cat /proc/sys/net/ipv6/conf/all/forwarding") == "1\n"
        assert guest.ssh("sha256sum /etc/dropbear/host_key") == host_key
        guest.ssh("skep-mount /dev/vdb /mnt/second")
        assert guest.ssh("skep-records --check /first /mnt/second") == "last 20 20 gap no\n"
        guest.ssh("sed -i 7d /mnt/second/records")
        assert guest.ssh("skep-records --check /first /mnt/second || true").endswith("gap yes\n")


def test_a_seed_in_json(make_guest: Callable[[], Guest]) -> None:
    guest = make_guest()
    public = guest.key.with_suffix(".pub").read_text().strip()
    motto = 'quotes " and \\ and\nnewlines, ümläute'
    user_data = {
        "hostname": "files",
        "ssh_authorized_keys": [public],
        "write_files": [{"path": "/etc/motto", "content": motto}],
        "runcmd": [["touch", "/root/a name with blanks"]],
    }
    card = {"match": {"macaddress": LAN}, "addresses": ["10.9.0.2/24"], "gateway4": "10.9.0.1", "mtu": 1450}
    network = {"version": 2, "ethernets": {"eth0": {"match": {"macaddress": WAN}, "dhcp4": True}, "eth1": card}}
    guest.write_seed(
        meta_data=json.dumps({"instance-id": "two"}),
        user_data="#cloud-config\n" + json.dumps(user_data, indent=1),
        network_config=json.dumps(network),
    )
    with guest.running():
        assert {"files", "10.9.0.2"} < set(guest.ready())
        assert guest.ssh("cat /etc/motto") == motto
        assert guest.ssh("ls /root") == "a name with blanks\n"
        assert "default via 10.9.0.1 dev eth1" in guest.ssh("ip route")


def test_a_script_and_reboot(make_guest: Callable[[], Guest]) -> None:
    guest = make_guest()
    public = guest.key.with_suffix(".pub").read_text().strip()
    script = f"#!/bin/sh\nmkdir -p /root/.ssh\necho '{public}' > /root/.ssh/authorized_keys\n"
    guest.write_seed(meta_data="instance-id: three\nlocal-hostname: scripted\n", user_data=script)
    with guest.running():
        # No network-config: DHCP everywhere, and only one of the networks answers.
        name, *addresses = guest.ready()
        assert name == "scripted"
        assert len(addresses) >= 1
        before = guest.ssh("cat /proc/sys/kernel/random/boot_id")
        guest.ssh("reboot")
        guest.wait_for(r"ready scripted(?s:.*)ready scripted")
        assert guest.ssh("cat /proc/sys/kernel/random/boot_id") != before


def test_without_a_seed_nobody_gets_in_by_network(make_guest: Callable[[], Guest]) -> None:
    guest = make_guest()
    with guest.running():
        assert guest.ready()[0] == "skep-small"
        with pytest.raises(subprocess.CalledProcessError):
            guest.ssh("true")


def test_a_finished_image_is_kept(image: Path) -> None:
    before = image.stat().st_mtime_ns
    assert build() == image
    assert image.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("document", "flat"),
    [
        ("a: 1\nb:\n  c: x y # note\n", "a=1\nb/c=x y\n"),
        ("a:\n- x\n- b: 1\n  c: 'it''s'\n", "a/0=x\na/1/b=1\na/1/c=it's\n"),
        ("a:\n  - - x\n    - y\n  - [1, {b: 2}]\n", "a/0/0=x\na/0/1=y\na/1/0=1\na/1/1/b=2\n"),
        ("a: |\n  x\n    y\n\n  z\nb: |-\n  q\n", "a=x\\n  y\\n\\nz\\n\nb=q\n"),
        ('{"a": [true, null, "\\u00fc\\\\n", {}], "b": {"c": -1.5}}', "a/0=true\na/1=\na/2=ü\\\\n\nb/c=-1.5\n"),
        ("#cloud-config\n# only notes\n", ""),
        ("key: ssh-ed25519 AAAA\n  me@there\n", "key=ssh-ed25519 AAAA me@there\n"),
    ],
)
def test_the_seed_parser(tmp_path: Path, document: str, flat: str) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox")
    (tmp_path / "seed").write_text(document)
    assert run(busybox, "awk", "-f", PARSER, tmp_path / "seed") == flat
