"""Simulated hosts and plans on them, for tests of `panel.simulate`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pdpanel.panel.config import read_config
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.simulate.prepare import prepare
from pdpanel.panel.simulate.simulation import Simulation
from pdpanel.panel.simulate.view import SimulatedHost

__all__ = ["OnRealHost", "count_of", "launch", "prepared"]


class OnRealHost:
    """What a `Source` says that is not of a simulated host."""

    simulated = False
    simulation: SimulatedHost | None = None


def prepared(folder: Path, host: str = "small-2") -> Simulation:
    """Returns a host that is ready below `folder`."""
    return prepare(read_config({}, state_dir=folder), host)[1]


@cache
def launch(prefill: int = 1, decode: int = 1, transport: str = "mooncake", engine: str = "bundled") -> LaunchPlan:
    """Returns the plan of a run that is about to start."""
    fields = {"model": "m", "transport": transport, "prefill": {"count": prefill}, "decode": {"count": decode}}
    deployment = parse_deployment({**fields, "engine": engine})
    return plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c"))


def count_of(simulation: Simulation, key: str, way: str = "tx") -> int:
    """Returns the bytes that a port of the host has counted."""
    port = next(port for port in simulation.ports if port.key == key)
    return int((simulation.root / getattr(port, way)).read_text()) * port.factor
