"""The whole state: of this host, of nothing, and of a grown node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from pdpanel.nic_probe.host import this_host_files
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state import HostState, probe_state
from simulated_node import grow_node


def _readings(value: object) -> Iterator[Reading[object]]:
    if isinstance(value, Reading):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _readings(getattr(value, field.name))
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _readings(entry)


def test_an_empty_tree_gives_reasons_and_no_exception() -> None:
    state = probe_state(HostFiles(MemoryTree({})), {}, ["0000:18:00.0"])
    readings = list(_readings(state))
    assert len(readings) > 40
    assert all(reading.source and reading.reason and not reading.known for reading in readings)
    assert len(state.facts_missing) == 8


def test_this_host_tells_its_limits_and_modules() -> None:
    state = probe_state(this_host_files({"MC_MTU": "4096"}), {"MC_MTU": "4096"}, [])
    assert state.facts_missing == ()
    assert state.environ.value == {"MC_MTU": "4096"}
    for reading in (state.limits.memlock, state.limits.cpus_allowed, state.kernel.max_map_count, state.container.kind):
        assert reading.known, reading.reason


def test_a_grown_node_tells_everything_that_checks_ask(tmp_path: Path) -> None:
    node = grow_node(tmp_path, gpus=2, nics=2, gids=8)
    state = probe_state(HostFiles(tmp_path), {}, node.gpus)
    assert state.facts_missing == ()
    assert state.limits.memlock.known
    assert state.kernel.nvidia_open.value is True
    assert "nvidia_peermem" in state.kernel.modules.otherwise({})
    assert state.machine.hypervisor.value == ""
    assert {address: entry.fatal.value for address, entry in state.pci.items()} == dict.fromkeys(node.gpus, 0)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/t.json", ""), ("/gone.json", "does not exist"), ("t.json", "depends on the folder"), ("", "is not set")],
)
def test_the_file_that_replaces_mooncakes_discovery(path: str, reason: str) -> None:
    files = HostFiles(MemoryTree({"t.json": b'{"cuda:0": [[], []]}', "pdpanel/facts.json": b'{"environ": {}}'}))
    state: HostState = probe_state(files, {"MC_CUSTOM_TOPO_JSON": path} if path else {}, [])
    assert reason in state.custom_topology.reason
    assert state.custom_topology.known is not bool(reason)
