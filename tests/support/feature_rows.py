"""What the tests of the seed documents' features share: a row's number and kind, and short looks into a plan."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.doctor.deployment import check_plan
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan, ProcessSpec
from pdpanel.panel.plan import plan
from pdpanel.panel.planning.read_nodes import read_nodes

__all__ = ["KINDS", "ROOT", "all_of", "doc", "finding_ids", "made", "option", "process", "row", "shell"]

ROOT = Path(__file__).parents[2]
KINDS = ("generator", "check", "preset", "sentence")
_Test = TypeVar("_Test", bound=Callable[..., object])


def row(*numbers: int, kind: str) -> Callable[[_Test], _Test]:
    """Marks a test as the one of these rows of the feature table; `kind` is how pdpanel covers them."""
    assert kind in KINDS

    def mark(test: _Test) -> _Test:
        test.__dict__["feature_rows"] = (numbers, kind)
        return test

    return mark


def made(fields: Mapping[str, Any]) -> LaunchPlan:
    """Returns the plan of a deployment of these fields, for hosts elsewhere."""
    deployment = parse_deployment(dict(fields))
    return plan(deployment, elsewhere(), None, read_nodes(deployment, ROOT))


def process(plan: LaunchPlan, name: str) -> ProcessSpec:
    """Returns the process of this name."""
    found = plan.process(name)
    assert found is not None, [spec.name for spec in plan.processes]
    return found


def option(argv: Sequence[str], name: str) -> str | None:
    """Returns the value of an option, the empty text for a switch, None when it is not there."""
    for place, word in enumerate(argv):
        if word == name:
            after = argv[place + 1] if place + 1 < len(argv) else ""
            return "" if after.startswith("--") else after
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def all_of(argv: Sequence[str], name: str) -> list[str]:
    """Returns the values of an option that is given several times."""
    return [argv[place + 1] for place, word in enumerate(argv) if word == name]


def finding_ids(plan: LaunchPlan) -> set[str]:
    """Returns the ids of all that is remarked of a plan."""
    return {finding.id for finding in check_plan(plan)}


def shell(plan: LaunchPlan, name: str) -> str:
    """Returns a process's command as a line of shell."""
    return shlex.join(process(plan, name).argv)


def doc(name: str) -> str:
    """Returns a document of the project on one line."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())
