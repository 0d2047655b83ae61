"""What the appliance tells systemd of Skep's services."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from appliance import services


def unit(service: services.Service) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(services.unit_of(service))
    return parser["Service"]


def test_guests_outlive_the_helper_and_have_no_limit_in_common() -> None:
    helper = unit(services.HELPER)
    assert (helper["KillMode"], helper["TasksMax"], helper["OOMPolicy"]) == ("process", "infinity", "continue")
    assert "NoNewPrivileges" not in helper


@pytest.mark.parametrize("service", [service for service in services.ALL if service is not services.HELPER])
def test_the_others_end_with_all_that_they_started(service: services.Service) -> None:
    found = unit(service)
    assert found["NoNewPrivileges"] == "yes"
    assert not {"KillMode", "TasksMax", "OOMPolicy"} & set(found)
