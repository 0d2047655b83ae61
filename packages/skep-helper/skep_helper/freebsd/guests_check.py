"""What must be right before bhyve is started, because bhyve itself says it late, unclearly or not at all."""

from __future__ import annotations

from ..handlers import Failure
from ..policy import Policy
from ..vocabulary.fields import Rejected
from ..vocabulary.guest import GuestSpec
from .bhyve import config
from .guests_facts import LOAD, MIB, Facts

TPM_RELEASE = 1_400_000
"""bhyve knows TPMs since 14.0."""


def check(spec: GuestSpec, facts: Facts, policy: Policy, used: int, lent: frozenset[str] = frozenset()) -> None:
    """used: bytes of memory of the guests that run. lent: PCI addresses that other running guests have.

    Raises Rejected for a description that no host could carry out or the policy forbids, and Failure: unsupported,
    full, missing, busy.
    """
    config.check(spec)
    if facts.vmm:
        raise Failure("unsupported", f"guest {spec.name}: {facts.vmm}")
    if not facts.nmdm:
        raise Failure("unsupported", f"guest {spec.name}: its serial line needs nmdm(4); {LOAD}")
    cpus = spec.cpus.sockets * spec.cpus.cores * spec.cpus.threads
    if cpus > facts.max_cpus:
        least = f"guest {spec.name} has {cpus} CPUs, vmm(4) gives a guest at most {facts.max_cpus} here"
        raise Failure("unsupported", f"{least}: give it fewer, or set hw.vmm.maxcpu in loader.conf")
    _check_features(spec, facts)
    _check_memory(spec, facts, policy, used)
    for address in spec.passthrough:
        check_device(address, facts, policy, lent)
    if spec.passthrough:
        _check_wired(spec, facts)


def _check_wired(spec: GuestSpec, facts: Facts) -> None:
    """A device reaches all of its guest's memory, so bhyve has it wired; the kernel limits what users may wire."""
    if 0 <= facts.wirable < spec.memory:
        needs = f"guest {spec.name} needs {spec.memory // MIB} MiB of wired memory for its passed-through devices"
        hint = "stop a guest that has some, give this one less memory, or raise the sysctl vm.max_user_wired (pages)"
        raise Failure("full", f"{needs}, {facts.wirable // MIB} MiB may still be wired: {hint}")


def shared(spec: GuestSpec, facts: Facts, lent: frozenset[str]) -> str:
    """What the administrator should know of passed-through devices: functions of one device that have several users.

    Nothing in the IOMMU keeps such functions apart, unless the device does (ACS). Empty when there is nothing to say.
    """
    found = []
    for address in spec.passthrough:
        for other, device in facts.devices.items():
            if other.partition(".")[0] != address.partition(".")[0] or other in spec.passthrough:
                continue
            if other in lent:
                found.append(f"{other} is another guest's")
            elif device.driver not in ("ppt", "none"):
                found.append(f"{other} is the host's ({device.driver})")
    listed = ", ".join(dict.fromkeys(found))
    return f"functions of its PCI devices have other users: {listed}" if listed else ""


def _check_features(spec: GuestSpec, facts: Facts) -> None:
    if spec.secure_boot:
        raise Failure("unsupported", f"guest {spec.name}: bhyve's firmware has no secure boot; switch it off")
    if spec.tpm:
        why = (
            "bhyve has TPMs from FreeBSD 14.0 on" if facts.release < TPM_RELEASE else "this version drives no swtpm yet"
        )
        raise Failure("unsupported", f"guest {spec.name}: no TPM here: {why}")


def _check_memory(spec: GuestSpec, facts: Facts, policy: Policy, used: int) -> None:
    limit = policy.memory_limit or max(facts.memory - facts.kept, 0)
    if used + spec.memory > limit:
        free = max(limit - used, 0) // MIB
        needs = f"guest {spec.name} needs {spec.memory // MIB} MiB of memory, {free} MiB are free for guests"
        kept = "" if policy.memory_limit else f" ({facts.kept // MIB} MiB stay with the host and the ARC)"
        raise Failure("full", f"{needs}{kept}: stop another one, give it less, or set memory_limit in the policy")


def check_device(address: str, facts: Facts, policy: Policy, lent: frozenset[str]) -> None:
    """Of a device to be passed through."""
    if address not in policy.passthrough:
        raise Rejected(f"PCI device {address} is not listed in the policy's passthrough")
    if not facts.iommu:
        raise Failure("unsupported", f"PCI device {address}: no IOMMU (VT-d or AMD-Vi); switch it on in the firmware")
    device = facts.devices.get(address)
    if device is None:
        raise Failure("missing", f"PCI device {address} is not in this host")
    if device.bridge:
        raise Failure("unsupported", f"PCI device {address} is a bridge, which cannot be passed through")
    if device.driver != "ppt":
        bus, slot, function = config.host_address(address)
        hint = f'pptdevs="{bus}/{slot}/{function}" in loader.conf and reboot'
        raise Failure("unsupported", f"PCI device {address} is bound to {device.driver}, not to ppt(4): {hint}")
    if not device.messages:
        raise Failure("unsupported", f"PCI device {address} has neither MSI nor MSI-X, which bhyve needs of it")
    if address in lent:
        raise Failure("busy", f"PCI device {address} is in use by another guest")
