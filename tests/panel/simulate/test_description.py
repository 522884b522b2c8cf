from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe import Severity, check_host, probe_host, survey_topology
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.panel.simulate.catalogue import shipped
from pdpanel.panel.simulate.description import grow_description, read_description

SHAPES = {"hgx-8": (8, 9, 2), "mi300x-8": (8, 9, 2), "small-2": (2, 1, 1)}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shipped_description_is_the_host_that_it_says(tmp_path: Path, name: str) -> None:
    description = shipped()[name]
    grow_description(description, tmp_path)
    host = probe_host(HostFiles(tmp_path), {})
    found = host.rdma.otherwise(())
    assert (len(host.gpus.devices), len(found), len(host.cpu.numa_nodes)) == SHAPES[name]
    assert {gpu.name.value for gpu in host.gpus.devices} == {description.gpus.model}
    assert {gpu.memory_total_bytes.value for gpu in host.gpus.devices} == {description.gpus.memory_gib << 30}
    assert host.name.value == description.machine.hostname
    assert all(nic.usable for nic in found)
    topology = survey_topology(host)
    assert all(len(nics) == 1 for nics in topology.ib_devices.values())
    assert len(topology.ib_devices) == len(host.gpus.devices)
    found_by_checks = check_host(host, topology)
    assert not [finding for finding in found_by_checks if finding.severity is Severity.ERROR]
    ids = {finding.id for finding in found_by_checks if finding.severity is Severity.WARNING}
    assert ("peermem-setting" in ids) == (name == "small-2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = [", "is no TOML"),
        ("name = 1\ntitle = 't'", "is no description of a host: Expected `str`"),
        ("name = 'a'\ntitle = 't'\ncolour = 'red'", "unknown field `colour`"),
        ("name = 'a'\ntitle = 't'\n[gpus]\ncount = 99", "`$.gpus.count`"),
        ("name = 'A b'\ntitle = 't'", "`$.name`"),
        ("name = 'a'\ntitle = \"two\\nlines\"", "`$.title`"),
        ("name = 'a'\ntitle = 't'\n[nics]\nrate = 'fast'", "`$.nics.rate`"),
        ("#" * 70_000, "is longer than any description"),
    ],
)
def test_what_a_description_cannot_say_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        read_description(path)
    assert said in str(told.value) and "\n" not in str(told.value)


def test_the_smallest_description_is_a_whole_host(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("name = 'a'\ntitle = 't'\n[gpus]\ncount = 0\n[nics]\ncount = 1\nlink_layer = 'InfiniBand'\n")
    (tmp_path / "root").mkdir()
    grow_description(read_description(path), tmp_path / "root")
    host = probe_host(HostFiles(tmp_path / "root"), {})
    assert host.gpus.devices == ()
    assert [nic.ports[0].link_layer.value for nic in host.rdma.otherwise(())] == ["InfiniBand"]
