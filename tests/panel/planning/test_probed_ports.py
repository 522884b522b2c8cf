from __future__ import annotations

from typing import Any

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.planning.place import place
from pdpanel.panel.planning.probed_ports import probed_ports
from sample_dialect import make_dialect

PAIR = {"model": "m", "engine": "sglang", "prefill": {"count": 1}, "decode": {"count": 1}}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "prefill": {"count": 3, "port": 40000, "bootstrap_port": 9998},
            "router": {"port": 7000, "metrics_port": 7100},
        },
        {"metadata": {"server": "etcd://127.0.0.1:12379", "start": True}, "store": {}},
        {"rpc_ports": [20000, 20100]},
        {"workers": {"tp": 4, "attn_dp": 4}},
    ],
)
def test_every_port_that_a_plan_gives_out_is_looked_at(fields: dict[str, Any]) -> None:
    deployment, dialect = parse_deployment(PAIR | fields), make_dialect()
    probed = probed_ports(deployment, dialect)
    made = place(deployment, dialect, elsewhere(), None, {})
    assert made.router is not None
    given = {port for worker in made.workers for port in (worker.port, worker.bootstrap_port) if port is not None}
    given |= {made.router.port, made.router.metrics_port or 29000}
    given |= {port for server in made.servers for port in server.ports.values()}
    given |= {port for low, high in made.rpc_ports.values() for port in range(low, high + 1)}
    assert given <= probed


def test_a_broken_address_is_somebody_elses_to_say() -> None:
    fields = {"metadata": {"server": "redis://", "start": True}, "store": {"master": "x"}}
    assert 30000 in probed_ports(parse_deployment(PAIR | fields), make_dialect())
