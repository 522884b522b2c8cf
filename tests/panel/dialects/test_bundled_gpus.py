"""The bundled engine's workers on hosts with GPUs: one each where there are enough, else they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pdpanel.engine.arguments import parse_server_arguments
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts, elsewhere
from pdpanel.panel.launch import LaunchPlan, ProcessSpec, Role
from pdpanel.panel.plan import plan
from pdpanel.panel.planning.host_needs import needs_this_host
from pdpanel.panel.planning.node_facts import NodeFacts

PAIR: dict[str, Any] = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}


def planned(gpus: int | None = None, **fields: Any) -> LaunchPlan:
    nodes = {} if gpus is None else {"": NodeFacts(gpus=gpus)}
    return plan(parse_deployment(PAIR | fields), elsewhere(), None, nodes)


def workers(made: LaunchPlan) -> Mapping[str, ProcessSpec]:
    return {spec.name: spec for spec in made.processes if spec.role is not Role.ROUTER}


def visible(made: LaunchPlan) -> dict[str, str | None]:
    return {name: spec.env.get("CUDA_VISIBLE_DEVICES") for name, spec in workers(made).items()}


@pytest.mark.parametrize("gpus", [None, 0])
def test_without_gpus_nothing_is_said_of_them(gpus: int | None) -> None:
    made = planned(gpus)
    assert set(visible(made).values()) == {None}
    assert all("--mem-fraction-static" not in spec.argv and spec.gpus == () for spec in workers(made).values())


def test_each_worker_has_a_gpu_of_its_own_where_there_are_enough() -> None:
    made = planned(4, prefill={"count": 1}, decode={"count": 2})
    assert visible(made) == {"prefill-0": "0", "decode-0": "1", "decode-1": "2"}
    assert {name: spec.gpus for name, spec in workers(made).items()} == {
        "prefill-0": ("0",),
        "decode-0": ("1",),
        "decode-1": ("2",),
    }
    assert all("--mem-fraction-static" not in spec.argv for spec in workers(made).values())


def test_two_workers_on_one_gpu_share_its_memory() -> None:
    made = planned(1)
    assert visible(made) == {"prefill-0": "0", "decode-0": "0"}
    shares = [parse_server_arguments(spec.argv[3:]).mem_fraction_static for spec in workers(made).values()]
    assert shares == [0.43, 0.43]


def test_three_workers_on_two_gpus_share_the_first_alone() -> None:
    made = planned(2, decode={"count": 2})
    assert visible(made) == {"prefill-0": "0", "decode-0": "1", "decode-1": "0"}
    shares = {name: parse_server_arguments(spec.argv[3:]).mem_fraction_static for name, spec in workers(made).items()}
    assert shares == {"prefill-0": 0.43, "decode-0": 0.9, "decode-1": 0.43}


def test_a_persons_own_share_stands() -> None:
    made = planned(1, prefill={"count": 1, "mem_fraction": 0.2})
    argv = workers(made)["prefill-0"].argv
    assert argv.count("--mem-fraction-static") == 1 and argv[argv.index("--mem-fraction-static") + 1] == "0.2"


def test_hosts_of_a_deployment_are_counted_one_by_one() -> None:
    made = planned(
        hosts={"a": {"address": "10.0.0.1", "gpus": 1}, "b": {"address": "10.0.0.2", "gpus": 0}},
        prefill={"count": 1, "hosts": ["a"]},
        decode={"count": 1, "hosts": ["b"]},
    )
    assert visible(made) == {"prefill-0": "0", "decode-0": None}


@pytest.mark.parametrize(
    ("selection", "argument", "variable"),
    [("none", None, None), ("visible-devices", None, "1"), ("base-gpu-id", "1", None)],
)
def test_a_way_that_the_deployment_chooses_is_taken(selection: str, argument: str | None, variable: str | None) -> None:
    decode = workers(planned(2, gpu_selection=selection))["decode-0"]
    assert decode.env.get("CUDA_VISIBLE_DEVICES") == variable
    given = decode.argv[decode.argv.index("--base-gpu-id") + 1] if "--base-gpu-id" in decode.argv else None
    assert given == argument
    parse_server_arguments(decode.argv[3:])


def test_the_host_is_looked_at_where_a_driver_found_gpus() -> None:
    without, with_gpus = elsewhere(), HostFacts(node="here", cores=4, python="python3", has_gpus=True)
    bundled = parse_deployment(PAIR)
    assert needs_this_host(bundled, with_gpus)
    assert not needs_this_host(bundled, without) and not needs_this_host(bundled)
    assert not needs_this_host(parse_deployment(PAIR | {"gpu_selection": "none"}), with_gpus)
    assert not needs_this_host(parse_deployment(PAIR | {"engine": "sglang"}), with_gpus)
