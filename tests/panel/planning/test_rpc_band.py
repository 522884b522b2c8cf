from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.host_facts import HostFacts
from sample_dialect import Placer


def test_each_node_gets_a_narrow_band_outside_the_ephemeral_ports(placed: Placer) -> None:
    made = placed(
        prefill={"count": 1, "tp": 8, "hosts": ["a"]},
        decode={"count": 2, "tp": 4, "hosts": ["b", "c"]},
    )
    assert dict(made.rpc_ports) == {node: (15000, 15063) for node in "abc"}
    assert dict(placed().rpc_ports) == {"": (15000, 15015)}


def test_the_band_avoids_other_ports_and_those_of_the_kernel(placed: Placer) -> None:
    local = HostFacts(node="here", cores=1, python="p", ephemeral=(15010, 15100))
    assert placed(local=local, prefill={"count": 1, "port": 15105}).rpc_ports[""] == (15106, 15121)
    crowded = HostFacts(node="here", cores=1, python="p", ephemeral=(1024, 65535))
    assert placed(local=crowded).rpc_ports[""] == (15000, 15015)


def test_only_mooncake_has_a_band(placed: Placer) -> None:
    assert not placed(transport="nixl").rpc_ports
    assert placed(transport="mooncake_tcp").rpc_ports
    assert not placed(rpc_ports=None).rpc_ports


def test_a_store_has_an_engine_more(placed: Placer) -> None:
    low, high = placed(prefill={"count": 1, "tp": 4}, decode={"count": 1, "tp": 4}, store={}).rpc_ports[""]
    assert high - low + 1 == 8 * 2 * 2 * 4


def test_a_wished_band_is_checked(placed: Placer) -> None:
    assert dict(placed(rpc_ports=[16000, 16003]).rpc_ports) == {"": (16000, 16003)}
    with pytest.raises(ConfigError, match="ends before it begins"):
        placed(rpc_ports=[16003, 16000])
    with pytest.raises(ConfigError, match=r"has 3 ports, and the engines of one host open 4; write \[16000, 16016\]"):
        placed(rpc_ports=[16000, 16002])
    with pytest.raises(ConfigError, match="port 30000, which prefill-0's HTTP server has on this host"):
        placed(prefill={"count": 1, "port": 30000}, rpc_ports=[29990, 30010])
    assert 30000 not in {worker.port for worker in placed(rpc_ports=[29990, 30010]).workers}
