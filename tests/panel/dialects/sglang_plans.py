"""Plans of SGLang deployments for tests: a pair on one host unless the fields say otherwise, and a look at commands."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan, ProcessSpec
from pdpanel.panel.plan import plan

__all__ = ["QUIET", "ids", "made", "option", "process", "refused"]

QUIET = {"engine": "sglang", "model": "org/m", "observe": False, "rpc_ports": None}


def made(**fields: object) -> LaunchPlan:
    """Returns the plan of a deployment without what the panel adds for itself."""
    roles: dict[str, object] = {"prefill": {"count": 1}, "decode": {"count": 1}}
    for role in ("prefill", "decode"):
        given = fields.get(role)
        if isinstance(given, dict):
            roles[role] = {"count": 1, **given}
    if "unified" in fields:
        roles = {}
    return plan(parse_deployment({**QUIET, **fields, **roles}), elsewhere(), None)


def process(made_plan: LaunchPlan, name: str) -> ProcessSpec:
    """Returns the process of this name."""
    found = made_plan.process(name)
    assert found is not None, [spec.name for spec in made_plan.processes]
    return found


def option(argv: Sequence[str], name: str) -> list[str] | None:
    """Returns the words of an option, None when it is not there."""
    for place, word in enumerate(argv):
        if word.startswith(f"--{name}="):
            return [word.partition("=")[2]]
        if word == f"--{name}":
            rest = argv[place + 1 :]
            end = next((i for i, each in enumerate(rest) if each.startswith("--")), len(rest))
            return list(rest[:end])
    return None


def refused(field: str, problem: str, **fields: object) -> ConfigError:
    """Asserts that the deployment is refused for this field, with these words, and returns the error."""
    with pytest.raises(ConfigError, match=problem) as caught:
        made(**fields)
    assert caught.value.field == field
    assert caught.value.remedy
    return caught.value


def ids(made_plan: LaunchPlan) -> set[str]:
    """Returns the ids of the findings."""
    return {finding.id for finding in made_plan.findings}
