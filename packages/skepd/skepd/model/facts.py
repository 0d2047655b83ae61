"""What a plan must know of the host: limits and defaults. Read once by the platform, given to plan as a value."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """platform: linux, freebsd or sim. memory in bytes; uplinks: interfaces that networks may use.

    management: those of them that the host itself is reached by; a plan that touches one must be confirmed.
    missing: facility -> why it does not work here (from the helper's probes). A definition that needs one of these
    is refused with that reason.
    """

    platform: str
    hostname: str
    boot_id: str
    cpus: int
    memory: int
    disk_format: str
    uplinks: tuple[str, ...] = ()
    management: tuple[str, ...] = ()
    pci_devices: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
