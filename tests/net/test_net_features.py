"""On the kernel of ``make test-net`` nothing may be missing, so that no test there tries a refusal instead."""

from __future__ import annotations

from skep_helper.linux.network import FEATURES
from skep_helper.policy import Policy


def test_this_kernel_can_do_everything() -> None:
    assert {feature.name: feature.reason for feature in FEATURES(Policy(forwarding=True)) if not feature.works} == {}
