"""The yardstick of a deployment: unified, as many workers, and nothing that two runs at once would quarrel about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConflictError
from pdpanel.panel.deployment import dump_deployment, parse_deployment, parse_deployment_text
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.yardstick import unified_of

HERE = HostFacts("here", 8, "/opt/python")


@given(prefill=st.integers(1, 4), decode=st.integers(1, 4), transport=st.sampled_from(["tcp", "mooncake", "nixl"]))
def test_as_many_workers_serve_unified(prefill: int, decode: int, transport: str) -> None:
    given = {"model": "m", "transport": transport, "prefill": {"count": prefill}, "decode": {"count": decode}}
    twin = unified_of(parse_deployment(given))
    assert (twin.model, twin.unified.count, twin.prefill.count) == ("m", prefill + decode, 0)
    assert parse_deployment_text(dump_deployment(twin), "t") == twin
    made = plan(twin, HERE, RunIds("r", "/runs/r", "/cache"))
    router = next(spec for spec in made.processes if spec.role.value == "router")
    assert sum(argument.startswith("http://") for argument in router.argv) == prefill + decode


def test_what_is_set_of_all_workers_stays_and_ports_go() -> None:
    twin = unified_of(
        parse_deployment(
            {
                "name": "mine",
                "engine": "sglang",
                "engine_version": "0.5.9",
                "model": "m",
                "workers": {"tp": 4, "mem_fraction": 0.8},
                "prefill": {"count": 1, "hosts": ["a"], "port": 30000, "bootstrap_port": 8998},
                "decode": {"count": 1, "hosts": ["b"], "port": 30001},
                "hosts": {"a": {"address": "10.0.0.1"}, "b": {"address": "10.0.0.2"}},
                "router": {"port": 8000},
                "env": {"A": "1"},
            }
        )
    )
    assert (twin.name, twin.engine, twin.engine_version, twin.workers.tp) == ("mine-unified", "sglang", "0.5.9", 4)
    assert (list(twin.unified.hosts or ()), twin.unified.port, twin.router.port) == (["a", "b"], None, None)
    assert twin.env == {"A": "1"}


def test_one_that_is_unified_or_has_encoders_is_refused() -> None:
    with pytest.raises(ConflictError, match="unified already"):
        unified_of(parse_deployment({"model": "m", "unified": {"count": 2}}))
    apart = {"model": "m", "engine": "sglang", "prefill": {"count": 1}, "decode": {"count": 1}}
    with pytest.raises(ConflictError, match="encoder"):
        unified_of(parse_deployment({**apart, "encoder": {"count": 1}}))
