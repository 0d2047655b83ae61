"""Random operations, faults, crashes and power losses: at rest, what is desired is there, and nothing else.

SKEP_SOAK multiplies the number of examples.
"""

from __future__ import annotations

import os

import pytest
from engine_machine import EngineMachine
from hypothesis import HealthCheck, settings

EXAMPLES = 100 * max(1, int(os.environ.get("SKEP_SOAK") or 1))

pytestmark = pytest.mark.usefixtures("quiet_deaths")
TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
