from __future__ import annotations

from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.deployment_errors import nearest

WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    ({"prefil": {}}, "prefil", "is not a field", "did you mean prefill? Remove it or use one of version, name"),
    ({"prefill": {"tpp": 2}}, "prefill.tpp", "is not a field", "did you mean tp?"),
    ({"prefill": {"tensor-parallel-size": 2}}, "prefill.tensor-parallel-size", "is not a field", "did you mean tp?"),
    ({"prefill": {"mem_fraction_static": 1}}, "prefill.mem_fraction_static", "is not", "did you mean mem_fraction?"),
    ({"run": {"xyzzy": "x"}}, "run.xyzzy", "is not a field", "remove it or use one of python, venv, image"),
    ({"metadata": {"server": "x", "strt": 1}}, "metadata.strt", "is not a field", "did you mean start?"),
    ({"hosts": {"a": {"gpu_count": 1}}}, "hosts.a.gpu_count", "is not a field", "one of address, gpus, gpu"),
    ({"router": {"kind": "sglang_router"}}, "router.kind", "is not known", "did you mean sglang-router? It can be"),
    ({"metadata": {"server": "x", "backend": "zk"}}, "metadata.backend", "is not known", "write 'etcd', 'redis'"),
    ({"metadata": 5}, "metadata", "is not a mapping", "write a mapping of fields"),
    ({"metadata": {"start": True}}, "metadata.server", "is missing", "add it"),
    ({"nics": 5}, "nics", "is no choice of NICs", "write auto, affinity, a list such as [mlx5_0, mlx5_1], or a map"),
    ({"nics": "mlx5_0"}, "nics", "is no choice of NICs", "a list such as"),
    ({"nics": ["mlx5_0,mlx5_1"]}, "nics.0", "holds a comma or a space", "one device per entry"),
    ({"nics": {"first": ["mlx5_0"]}}, "nics.first", "is not the index of a GPU", "a whole number in quotes"),
    ({"nics": {"0": "mlx5_0"}}, "nics.0", "is no choice of NICs", "a map of lists by GPU"),
    ({"decode": {"nics": "any"}}, "decode.nics", "is no choice of NICs", "write auto, affinity"),
    ({"rpc_ports": "all"}, "rpc_ports", "is no band of ports", "write auto, null, or the first and the last port"),
    ({"rpc_ports": [1, 2, 3]}, "rpc_ports", "is no band of ports", "such as [15000, 15063]"),
    ({"rpc_ports": [15000, 70000]}, "rpc_ports.1", "is more than 65535", "write a port from 1 to 65535"),
    ({"prefill": {"tp": 0}}, "prefill.tp", "is less than 1", "write a number from 1 to 4096"),
    ({"prefill": {"nodes": 5000}}, "prefill.nodes", "is more than 4096", "write a number from 1 to 4096"),
    ({"prefill": {"bootstrap_port": 0}}, "prefill.bootstrap_port", "is less than 1", "write a port from 1 to 65535"),
    ({"prefill": {"mem_fraction": 2}}, "prefill.mem_fraction", "is more than 1", "of more than 0 and at most 1"),
    ({"prefill": {"mem_fraction": 0}}, "prefill.mem_fraction", "is not more than 0", "of more than 0 and at most 1"),
    (
        {"prefill": {"chunked_prefill_size": -2}},
        "prefill.chunked_prefill_size",
        "less than -1",
        "from -1 to 2147483648",
    ),
    ({"smoke_test": {"temperature": -1}}, "smoke_test.temperature", "is less than 0", "from 0 to 100"),
    ({"hosts": {"a": {"nic_gbps": 0}}}, "hosts.a.nic_gbps", "is not more than 0", "of more than 0 and at most 1000000"),
    ({"prefill": {"hosts": "a"}}, "prefill.hosts", "is not a list", "write a list"),
    ({"prefill": {"gpus": ["a"]}}, "prefill.gpus.0", "is not a whole number", "write a whole number"),
    ({"prefill": {"dp_attention": "maybe"}}, "prefill.dp_attention", "is neither true nor false", "true or false"),
]


@pytest.mark.parametrize(("fields", "field", "problem", "remedy"), WRONG)
def test_a_mistake_names_the_field_what_is_wrong_and_what_to_write(
    fields: dict[str, Any], field: str, problem: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment({"model": "m"} | fields)
    error = caught.value
    assert error.field == field
    assert problem in str(error)
    assert remedy in error.remedy
    assert "literal[" not in str(error)


def test_the_nearest_name_is_found_and_none_where_nothing_is_near() -> None:
    assert nearest("Decod", ("prefill", "decode")) == "decode"
    assert nearest("tp-size", ("tp", "pp")) == "tp"
    assert nearest("zzz", ("prefill", "decode")) is None
