"""More or fewer workers: what stays is untouched, nothing is given twice, and there and back again is the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError, PdpanelError
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan, Role
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.planning.node_facts import NodeFacts
from pdpanel.panel.scaling.difference import check_same_run, compare
from pdpanel.panel.scaling.replan import own_ports, replanned
from pdpanel.panel.scaling.scaled import counts_of, scaled

IDS = RunIds("pd-1", "/state/runs/pd-1", "/cache")
HERE = HostFacts("here", 16, "/usr/bin/python3")
PD: dict[str, Any] = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}


def made(fields: Mapping[str, Any], host: HostFacts = HERE, gpus: int | None = None) -> tuple[Deployment, LaunchPlan]:
    deployment = parse_deployment(dict(fields))
    return deployment, plan(deployment, host, IDS, {"": NodeFacts(gpus=gpus)})


def changed(
    deployment: Deployment, old: LaunchPlan, counts: Mapping[Role, int], taken: frozenset[int] = frozenset()
) -> LaunchPlan:
    return replanned(old, scaled(deployment, counts), replace(HERE, taken=taken), IDS)


@pytest.mark.parametrize("transport", ["mooncake", "tcp", "shm"])
def test_a_decode_worker_more_leaves_the_others_as_they_are(transport: str) -> None:
    deployment, old = made(PD | {"transport": transport})
    new = changed(deployment, old, {Role.DECODE: 2}, own_ports(old) | {30002})
    found = check_same_run(old, new, "pd-1")
    assert [spec.name for spec in found.added] == ["decode-1"]
    assert [spec.name for spec in found.unchanged] == ["decode-0", "prefill-0"]
    assert all(spec == old.process(spec.name) for spec in found.unchanged)
    assert found.added[0].ports == {"http": 30003}, "30002 is somebody else's"
    assert [(change.name, change.restart) for change in found.changed] == [("router", False)]
    assert found.changed[0].after.argv[-2:] == ("--decode", "http://127.0.0.1:30003")
    assert "running ones keep 8 each" in found.notes[0]
    assert changed(deployment, new, {Role.DECODE: 1}) == old


def test_unified_workers_come_and_go_as_well() -> None:
    deployment, old = made({"model": "m", "unified": {"count": 2}})
    new = changed(deployment, old, {Role.UNIFIED: 3})
    found = check_same_run(old, new, "pd-1")
    assert ([spec.name for spec in found.added], found.removed) == (["unified-2"], ())
    down = compare(new, changed(deployment, new, {Role.UNIFIED: 1}))
    assert [spec.name for spec in down.removed] == ["unified-1", "unified-2"]


def test_gpus_of_those_that_stay_are_not_given_again() -> None:
    fields = PD | {"engine": "sglang", "workers": {"tp": 2}, "host": "127.0.0.1"}
    deployment, old = made(fields, gpus=8)
    new = replanned(old, scaled(deployment, {Role.PREFILL: 2}), HERE, IDS, {"": NodeFacts(gpus=8)})
    found = check_same_run(old, new, "pd-1")
    assert [(spec.name, spec.gpus) for spec in found.added] == [("prefill-1", ("4", "5"))]
    assert [(change.name, change.restart) for change in found.changed] == [("router", False)]
    with pytest.raises(ConfigError, match="GPU"):
        replanned(old, scaled(deployment, {Role.PREFILL: 4}), HERE, IDS, {"": NodeFacts(gpus=8)})


@pytest.mark.parametrize(
    ("engine", "kind", "restart"),
    [("sglang", "sglang-router", False), ("sglang", "smg", False), ("sglang", "mini_lb", True), ("vllm", None, True)],
)
def test_a_router_that_reads_its_workers_at_its_start_is_restarted(
    engine: str, kind: str | None, restart: bool
) -> None:
    deployment, old = made(PD | {"engine": engine, "host": "127.0.0.1", "router": {"kind": kind} if kind else {}})
    found = compare(old, changed(deployment, old, {Role.DECODE: 2}))
    assert [(change.name, change.restart) for change in found.changed] == [("router", restart)]


def test_what_is_no_change_of_this_run_is_refused() -> None:
    deployment, old = made(PD)
    new = changed(deployment, old, {Role.DECODE: 2})
    router, added = new.processes[-1], new.process("decode-1")
    assert added is not None
    worker = new.processes[0]
    foreign = (
        replace(new, model="other"),
        replace(new, processes=(*new.processes, replace(router, name="router-2"))),
        replace(new, processes=(*new.processes, replace(added, name="x", env={"PDPANEL_RUN_ID": "pd-2"}))),
        replace(new, processes=tuple(spec for spec in new.processes if spec.role is not Role.DECODE)),
        replace(new, processes=(replace(worker, env={**worker.env, "OMP_NUM_THREADS": "3"}), *new.processes[1:])),
    )
    for each in foreign:
        with pytest.raises(ConfigError, match="of this run"):
            check_same_run(old, each, "pd-1")


@pytest.mark.parametrize(("counts", "words"), [({Role.DECODE: 0}, "no decode"), ({Role.UNIFIED: 1}, "not a role")])
def test_counts_that_make_no_sense_are_one_sentence(counts: dict[Role, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        scaled(parse_deployment(PD), counts)


def test_nothing_of_the_deployment_but_the_count_changes() -> None:
    deployment = parse_deployment(PD | {"decode": {"count": 1, "port": 31000, "flags": {"x": 1}}})
    assert counts_of(scaled(deployment, {Role.DECODE: 3})) == {Role.PREFILL: 1, Role.DECODE: 3}
    assert scaled(scaled(deployment, {Role.DECODE: 3}), {Role.DECODE: 1}) == deployment


def test_runs_that_cannot_be_scaled_say_so() -> None:
    deployment, old = made(PD)
    with pytest.raises(ConfigError, match="was not started here"):
        changed(deployment, replace(old, attached=True), {Role.DECODE: 2})


roles = st.fixed_dictionaries(
    {
        "count": st.integers(1, 3),
        "port": st.sampled_from([None, None, 30000, 30001, 31000]),
        "tp": st.sampled_from([None, 1, 2]),
    }
)
fields = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "engine": st.sampled_from(["bundled", "sglang", "vllm"]),
        "transport": st.sampled_from(["mooncake", "nixl", "mooncake_tcp"]),
        "host": st.just("127.0.0.1"),
        "prefill": roles,
        "decode": roles,
    }
)


@settings(deadline=None, max_examples=150)
@given(fields, st.integers(1, 5), st.integers(1, 5), st.frozensets(st.integers(29999, 30012), max_size=6))
def test_whatever_is_scaled(values: dict[str, Any], prefill: int, decode: int, busy: frozenset[int]) -> None:
    try:
        deployment, old = made(values, gpus=64)
        wanted = scaled(deployment, {Role.PREFILL: prefill, Role.DECODE: decode})
        # What others have taken since.
        host = replace(HERE, taken=own_ports(old) | (busy - own_ports(old)))
        new = replanned(old, wanted, host, IDS, {"": NodeFacts(gpus=64)})
    except PdpanelError as error:
        assert str(error)
        return
    found = check_same_run(old, new, "pd-1")
    assert len(found.added) == max(0, prefill - values["prefill"]["count"]) + max(0, decode - values["decode"]["count"])
    assert all(spec == replace(old.process(spec.name) or spec, after=spec.after) for spec in found.unchanged)
    assert {change.name for change in found.changed} <= {"router"}
    ports = [port for spec in new.processes for port in spec.ports.values()]
    assert len(ports) == len(set(ports))
    gpus = [gpu for spec in new.processes for gpu in spec.gpus]
    assert len(gpus) == len(set(gpus))
    assert not {port for spec in found.added for port in spec.ports.values()} & (busy - own_ports(old))
    if all(count >= values[role]["count"] for role, count in (("prefill", prefill), ("decode", decode))):
        back = {Role.PREFILL: values["prefill"]["count"], Role.DECODE: values["decode"]["count"]}
        again = replanned(new, scaled(wanted, back), HERE, IDS, {"": NodeFacts(gpus=64)})
        assert again.processes == old.processes
