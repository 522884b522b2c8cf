"""What `pdpanel plan DEPLOYMENT.yaml` prints: who runs where, what fits into memory, and what the NICs must carry.

`panel.cli` parses the arguments. Reads the deployment, the dumps that it names and the model's config.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ..engine.errors import ConfigError
from .cli_sizing import read_model
from .deployment import Deployment, load_deployment
from .dialects.placement import Placement
from .dialects.registry import dialect_of
from .host_facts import elsewhere
from .launch import LaunchPlan
from .plan import plan
from .planning.node_facts import Nodes
from .planning.place import place
from .planning.read_nodes import read_nodes
from .probe_text import table
from .sizing.deployment_sizes import Sizes, sizes_of
from .sizing.facts import ModelFacts
from .sizing.parallelism import Parallelism
from .sizing.sizing_json import to_json
from .sizing.sizing_text import figures_text, transfer_text

__all__ = ["LoadOptions", "show_plan"]

_MOST_PORTS = 6
_MOST_RATE = 1e9


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The load that the plan is held against.

    Attributes:
        prompt: tokens of a prompt.
        output: tokens of an answer.
        rate: requests per second.
        model: a folder with config.json, or such a file, of a model that the deployment names otherwise.
    """

    prompt: int | None = None
    output: int | None = None
    rate: float | None = None
    model: str | None = None


def show_plan(path: Path, load: LoadOptions, *, as_json: bool = False) -> None:
    """Prints the placement of a deployment, and its sizes when the model's config is at hand.

    Raises:
        ConfigError: the file or a dump cannot be used, a field does not fit, or the model cannot be sized.
        CapacityError: no port of a band is free.
    """
    deployment = load_deployment(path)
    nodes = read_nodes(deployment, path.parent)
    made = plan(deployment, elsewhere(), None, nodes)
    placement = place(deployment, dialect_of(deployment), elsewhere(), None, nodes)
    sizes, why = _sizes(deployment, placement, nodes, load)
    if as_json:
        typer.echo(json.dumps(_document(made, placement, sizes, why), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(_lines(made, placement, sizes, why)))


def _sizes(
    deployment: Deployment, placement: Placement, nodes: Nodes, load: LoadOptions
) -> tuple[tuple[ModelFacts, Sizes] | None, str]:
    """Returns the model and the sizes, or why there are none."""
    for name, value in (("--prompt", load.prompt), ("--output", load.output)):
        if value is not None and not 1 <= value <= 100_000_000:
            raise ConfigError(name, value, "is no length in tokens", "give 1 token or more")
    if load.rate is not None and not 0 < load.rate <= _MOST_RATE:
        raise ConfigError("--rate", load.rate, "is no rate", "give requests per second, more than 0")
    if load.model is None and not os.path.exists(os.path.expanduser(deployment.model)):
        return None, f"The config.json of {deployment.model} is not here; name it with --config to see sizes."
    facts = read_model(load.model or deployment.model)
    return (
        facts,
        sizes_of(facts, placement, nodes, prompt=load.prompt, output=load.output or 0, rate=load.rate),
    ), ""


def _document(
    made: LaunchPlan, placement: Placement, sizes: tuple[ModelFacts, Sizes] | None, why: str
) -> dict[str, Any]:
    workers = {worker.name: worker for worker in placement.workers}
    rows = [
        {
            "process": spec.name,
            "role": spec.role.value,
            "node": spec.node,
            "gpus": list(workers[spec.name].gpus) if spec.name in workers else [],
            "nics": workers[spec.name].nics if spec.name in workers else "",
            "ports": dict(spec.ports),
            "after": list(spec.after),
        }
        for spec in made.processes
    ]
    bands = {node: list(band) for node, band in placement.rpc_ports.items()}
    document: dict[str, Any] = {"version": 1, "processes": rows, "rpc_ports": bands}
    if sizes is None:
        return {**document, "model": None, "unknown": why}
    facts, found = sizes
    return {**document, "model": facts.name, "attention": facts.attention, "sizes": to_json(found)}


def _lines(made: LaunchPlan, placement: Placement, sizes: tuple[ModelFacts, Sizes] | None, why: str) -> Iterator[str]:
    yield f"{made.run_name}: {made.model} with {made.dialect}, KV by {made.transport}"
    workers = {worker.name: worker for worker in placement.workers}
    rows = [
        (
            spec.name,
            spec.node or "this host",
            _ranges(workers[spec.name].gpus) if spec.name in workers else "-",
            (workers[spec.name].nics if spec.name in workers else "") or "-",
            _ports(spec.ports),
            ", ".join(spec.after) or "-",
        )
        for spec in made.processes
    ]
    yield from table(("process", "node", "GPUs", "NICs", "ports", "after"), rows)
    for low, high in sorted(set(placement.rpc_ports.values())):
        count = sum(band == (low, high) for band in placement.rpc_ports.values())
        where = f"{count} nodes" if count > 1 else "1 node"
        yield f"  Mooncake's RPC ports on {where}: {low} to {high}, on all addresses"
    yield ""
    if sizes is None:
        yield why
        return
    facts, found = sizes
    yield f"{facts.name}: {facts.attention}"
    assumed: dict[str, None] = {}
    for role in found.roles:
        spread = _spread(role.parallel)
        yield ""
        yield f"A {role.role} worker, {role.workers} in all ({spread})"
        yield from figures_text(role.figures)
        if role.unknown:
            yield f"  {role.unknown}"
        assumed |= dict.fromkeys(sentence for figure in role.figures.values() for sentence in figure.assumes)
    if assumed:
        yield ""
        yield "Assumed"
        yield from (f"  - {sentence}" for sentence in assumed)
    yield ""
    yield transfer_text(found.transfer).rstrip("\n") if found.transfer else found.unknown


def _spread(parallel: Parallelism) -> str:
    sizes = {"tp": parallel.tp, "pp": parallel.pp, "ep": parallel.ep}
    parts = [f"{name} {size}" for name, size in sizes.items() if size > 1] or ["one GPU"]
    if parallel.attention_dp > 1:
        parts.append(f"{parallel.attention_dp} copies of the attention")
    return ", ".join(parts)


def _ranges(numbers: Sequence[int]) -> str:
    if not numbers:
        return "-"
    if len(numbers) > 1 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(str(number) for number in numbers)


def _ports(ports: Mapping[str, int]) -> str:
    shown = [f"{name} {port}" for name, port in list(ports.items())[:_MOST_PORTS]]
    return ", ".join(shown) or "-"
