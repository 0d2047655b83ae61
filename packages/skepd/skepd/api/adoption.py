"""Handlers about guests of vm-bhyve: what there is, taking it over, giving it back."""

from __future__ import annotations

from skep import wire

from skepd.adoption.guests import Choices, Converted
from skepd.engine.contract import Operation
from skepd.model.definitions import render_object
from skepd.model.profiles import PROFILES
from skepd.plan.steps import Plan

from .problems import ApiError
from .route import Answer, Call
from .site import plan_to_wire


def plan(call: Call) -> Answer:
    request = call.body_as(wire.AdoptRequest)
    answer = call.engine.plan_adoption(request.names, _choices(request))
    found = answer.found
    return Answer(
        wire.Adoption(
            guests=tuple(_guest(one) for one in found.guests),
            networks={network.name: render_object(network) for network in found.networks},
            already=dict(found.already),
            plan=plan_to_wire(answer.plan),
        )
    )


def adopt(call: Call) -> Operation:
    request = call.body_as(wire.AdoptRequest)
    return call.engine.adopt(request.names, _choices(request))


def plan_return(call: Call) -> Plan:
    return call.engine.plan_return(call.body_as(wire.ReturnRequest).names)


def give_back(call: Call) -> Operation:
    return call.engine.give_back(call.body_as(wire.ReturnRequest).names)


def _choices(request: wire.AdoptRequest) -> Choices:
    if request.profile is not None and request.profile not in PROFILES:
        raise ApiError(400, f"there is no profile {request.profile!r}", f"one of {', '.join(PROFILES)}")
    return Choices(profile=request.profile, networks=dict(request.networks))


def _guest(one: Converted) -> wire.AdoptedGuest:
    return wire.AdoptedGuest(
        source=one.source,
        name=one.name,
        possible=one.guest is not None,
        definition=render_object(one.guest) if one.guest is not None else "",
        disks=dict(one.disks),
        findings=tuple(wire.AdoptionFinding(text=str(item), refuses=item.refuses) for item in one.findings),
    )
