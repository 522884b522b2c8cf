"""Plans for vLLM, as its dialects' tests make them, and the parts of their commands."""

from __future__ import annotations

import json
from typing import Any

from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan, ProcessSpec
from pdpanel.panel.plan import plan

BARE: dict[str, object] = {"engine": "vllm", "model": "org/m", "observe": False, "rpc_ports": None}
PAIR: dict[str, object] = {"prefill": {"count": 1}, "decode": {"count": 1}}
TWO_NODES: dict[str, object] = {
    "prefill": {"count": 1, "hosts": ["10.0.0.1"]},
    "decode": {"count": 1, "hosts": ["10.0.0.2"]},
}
HERE = HostFacts(node="here", cores=8, python="/opt/py")


def planned(**fields: object) -> LaunchPlan:
    """Returns a plan of these fields over those that keep a command bare."""
    return plan(parse_deployment({**BARE, **fields}), HERE, None)


def process(made: LaunchPlan, name: str) -> ProcessSpec:
    """Returns the process with this name."""
    found = made.process(name)
    assert found is not None, [spec.name for spec in made.processes]
    return found


def option(spec: ProcessSpec, name: str) -> str | None:
    """Returns the value behind --name, or None."""
    argv = list(spec.argv)
    joined = next((word.partition("=")[2] for word in argv if word.startswith(f"--{name}=")), None)
    return argv[argv.index(f"--{name}") + 1] if f"--{name}" in argv else joined


def kv(spec: ProcessSpec) -> dict[str, Any]:
    """Returns the connector's JSON."""
    text = option(spec, "kv-transfer-config")
    assert text is not None, spec.argv
    return json.loads(text)


def ids(made: LaunchPlan) -> set[str]:
    """Returns the ids of what was found."""
    return {finding.id for finding in made.findings}
