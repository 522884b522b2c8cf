"""What a plan tells of the parts of a run and their bounds."""

from __future__ import annotations

from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.verdict.shape import shape_of


def planned(**fields: object) -> LaunchPlan:
    wanted = parse_deployment({"name": "r", "model": "m", **fields})
    return plan(wanted, HostFacts("here", 2, "/opt/python"), RunIds("r", "/runs/r", "/cache"))


def test_the_bundled_engines_defaults_are_known() -> None:
    shape = shape_of(planned(prefill={"count": 2}, decode={"count": 1}))
    assert shape.split == "2P1D"
    assert [worker.name for worker in shape.workers] == ["prefill-0", "prefill-1", "decode-0"]
    assert shape.routers == ("router",)
    assert (shape.prefill[0].most_running, shape.prefill[0].chunk, shape.prefill[0].staging_pages) == (32, 512, 512)


def test_what_the_command_sets_goes_first() -> None:
    flags = {"max_running_requests": 3, "flags": {"max-total-tokens": "320"}}
    shape = shape_of(planned(prefill={"count": 1, **flags}, decode={"count": 1, "max_running_requests": 2}))
    assert (shape.prefill[0].most_running, shape.prefill[0].staging_pages) == (3, 20)
    assert shape.decode[0].most_running == 2


def test_a_unified_run_has_no_roles_apart() -> None:
    shape = shape_of(planned(prefill={"count": 0}, decode={"count": 0}, unified={"count": 2}))
    assert (shape.split, shape.prefill, shape.decode) == ("2 unified", (), ())


def test_bounds_of_other_engines_are_unknown_unless_set() -> None:
    fields = {"engine": "sglang", "prefill": {"count": 1}, "decode": {"count": 1, "max_running_requests": 64}}
    shape = shape_of(planned(**fields))
    assert (shape.prefill[0].most_running, shape.prefill[0].staging_pages) == (None, None)
    assert shape.decode[0].most_running == 64
