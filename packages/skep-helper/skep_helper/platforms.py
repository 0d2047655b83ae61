"""A platform: the table of handlers of this kind of host, summed up from one module for each host tool.

Such a module has HANDLERS (request type -> handler) and may have LONG (types that get a process of their own),
FEATURES(policy) (facilities, probed by trying), prepare(policy) (once, before the first request) and recover(policy)
(once, beside the first requests: finish what a crash interrupted).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from . import log
from .handlers import Handler
from .outcome import outcome_of
from .policy import Policy, parse
from .vocabulary import Feature

# How sys.platform begins -> the package that has NAME, DRIVER (of its VMM, for guards), PLACES (defaults of the policy
# by key), modules(policy), boot_id() and host_id().
PACKAGES = {"linux": "skep_helper.linux", "freebsd": "skep_helper.freebsd"}


@dataclass(frozen=True)
class Platform:
    """What the server needs to know of its host."""

    name: str
    boot_id: str
    handlers: dict[type, Handler]
    long: frozenset[type]
    features: Callable[[Policy], tuple[Feature, ...]]
    prepare: Callable[[Policy], None]
    recover: Callable[[Policy], None]


def assemble(name: str, boot_id: str, modules: Iterable[ModuleType]) -> Platform:
    """Sum up modules; raises ValueError when two of them handle the same request."""
    modules = tuple(modules)
    handlers: dict[type, Handler] = {}
    for module in modules:
        twice = handlers.keys() & module.HANDLERS.keys()
        if twice:
            raise ValueError(f"{module.__name__} handles again {', '.join(sorted(kind.__name__ for kind in twice))}")
        handlers.update(module.HANDLERS)
    return Platform(
        name=name,
        boot_id=boot_id,
        handlers=handlers,
        long=frozenset().union(*(getattr(module, "LONG", ()) for module in modules)),
        features=lambda policy: _features(modules, policy),
        prepare=lambda policy: _prepare(modules, policy),
        recover=lambda policy: _recover(modules, policy),
    )


def _features(modules: Iterable[ModuleType], policy: Policy) -> tuple[Feature, ...]:
    """A module whose probing fails takes nothing from the others."""
    found: list[Feature] = []
    for module in _having(modules, "FEATURES"):
        outcome = outcome_of(partial(module.FEATURES, policy))
        if outcome.code:
            log.line("probing-failed", module=module.__name__, code=outcome.code, reason=outcome.message)
        else:
            found += outcome.answer
    return tuple(found)


def _prepare(modules: Iterable[ModuleType], policy: Policy) -> None:
    """In the order of the modules; the first that fails ends the helper's start."""
    for module in _having(modules, "prepare"):
        module.prepare(policy)


def _recover(modules: Iterable[ModuleType], policy: Policy) -> None:
    for module in _having(modules, "recover"):
        outcome = outcome_of(partial(module.recover, policy))
        if outcome.code:
            log.line("recovery-failed", module=module.__name__, code=outcome.code, reason=outcome.message)


def _having(modules: Iterable[ModuleType], name: str) -> list[Any]:
    return [module for module in modules if hasattr(module, name)]


def load(policy: Policy) -> Platform:
    """The platform that we run on, with the storage that the policy wants; raises LookupError on one that Skep does
    not know."""
    host = _package()
    return assemble(host.NAME, host.boot_id(), host.modules(policy))


def driver() -> str:
    """The module of guard.driver's Driver on this platform; raises LookupError."""
    return str(_package().DRIVER)


def host_id() -> str:
    """Of this machine, whatever disks are in it, the same after each boot; raises LookupError."""
    return str(_package().host_id())


def defaults() -> Policy:
    """The policy of this platform where its file says nothing; raises LookupError."""
    return parse(_package().PLACES)


def _package() -> Any:
    for prefix, package in PACKAGES.items():
        if sys.platform.startswith(prefix):
            return importlib.import_module(package)
    raise LookupError(f"Skep does not know the platform {sys.platform}; it runs on {', '.join(PACKAGES)}")
