"""Which hosts a Slurm job asks for, and which of them the plan knows by name."""

from __future__ import annotations

from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.export.slurm_hosts import JobHosts, job_hosts, mark
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan

PAIR: dict[str, Any] = {"model": "m", "engine": "sglang", "prefill": {"count": 1}, "decode": {"count": 1}}


def placed(first: str, second: str, nodes: list[str] | None = None, **fields: Any) -> JobHosts:
    deployment = parse_deployment(
        {
            **PAIR,
            "prefill": {"count": 1, "hosts": [first]},
            "decode": {"count": 1, "hosts": [second]},
            "slurm": {} if nodes is None else {"nodes": nodes},
            **fields,
        }
    )
    return job_hosts(plan(deployment, elsewhere(), None), deployment)


@pytest.mark.parametrize(
    ("hosts", "nodes", "names", "asked"),
    [
        (("n1", "n2"), None, ("n1", "n2"), ("n1", "n2")),
        (("10.0.0.1", "10.0.0.2"), None, ("", ""), ()),
        (("n1", "10.0.0.2"), None, ("n1", ""), ("n1",)),
        (("n1", "n2"), [], ("", ""), ()),
        (("n1", "n2"), ["n[1-4]"], ("n1", "n2"), ("n1", "n2")),
        (("a", "b"), ["n[1-4]"], ("", ""), ("n1", "n2")),
        (("a", "n1"), ["n[1-4]"], ("", "n1"), ("n1", "n2")),
    ],
)
def test_names_are_slurms_own_or_places_to_fill(
    hosts: tuple[str, str], nodes: list[str] | None, names: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    made = placed(*hosts, nodes)
    assert (made.names, made.asked) == (names, asked)


def test_a_deployment_without_hosts_takes_one_node() -> None:
    for nodes, asked in ((None, ()), (["n7", "n8"], ("n7",))):
        deployment = parse_deployment({**PAIR, "slurm": {"nodes": nodes}})
        whole = plan(deployment, elsewhere(), None)
        made = job_hosts(whole, deployment)
        assert (made.names, made.asked) == (("",), asked)
        assert made.plan is whole, "its processes reach one another by loopback"


def test_too_few_nodes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"slurm\.nodes = 'n1': names 1, but 2 are needed"):
        placed("a", "b", ["n1"])


def test_addresses_of_places_are_marks_and_all_else_stays() -> None:
    made = placed("10.0.0.1", "n2", None, hosts={"10.0.0.1": {"gpus": 4}})
    texts = [word for spec in made.plan.processes for word in (*spec.argv, spec.ready.url, *spec.env.values())]
    assert not any("10.0.0.1" in text for text in texts)
    assert any(mark(0) in text for text in texts)
    assert any("n2" in text for text in texts)
    plain = placed("n1", "n2")
    assert [spec.name for spec in made.plan.processes] == [spec.name for spec in plain.plan.processes]
    assert [dict(spec.ports) for spec in made.plan.processes] == [dict(spec.ports) for spec in plain.plan.processes]
