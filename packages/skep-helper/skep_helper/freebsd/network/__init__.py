"""Networks on FreeBSD: a vnet jail each with if_bridge, taps, dnsmasq and pf; guards by netgraph, rules, routers."""

from __future__ import annotations

from ...handlers import Handler
from ...vocabulary import (
    ApplyNetwork,
    ApplyPort,
    ApplyRouter,
    ReadNetworks,
    RemoveNetwork,
    RemovePort,
    RemoveRouter,
    SetGroup,
)
from .ports import apply_port, remove_port, set_group
from .probes import probe
from .reading import read_networks
from .routers import apply_router, remove_router
from .stacks import apply_network, remove_network

HANDLERS: dict[type, Handler] = {
    ApplyNetwork: apply_network,
    RemoveNetwork: remove_network,
    ApplyPort: apply_port,
    RemovePort: remove_port,
    ApplyRouter: apply_router,
    RemoveRouter: remove_router,
    SetGroup: set_group,
    ReadNetworks: read_networks,
}
LONG: frozenset[type] = frozenset(HANDLERS)
"""All of them wait for their turn and for tools, and a call into the kernel about an interface can hang: that must not
hold up those who only want to stop a guest. Their own lock keeps them in order."""

FEATURES = probe
"""(policy) -> what this kernel's network part can do, found by trying it once."""
