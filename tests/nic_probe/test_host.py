from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe import Host, check_host, probe_document, probe_host, survey_topology, this_host_files
from pdpanel.nic_probe.sources.files import HostFiles

Grow = Callable[[Mapping[str, str]], Path]


def test_this_host_has_a_loopback_memory_and_a_processor() -> None:
    host = probe_host(this_host_files({}), {})
    assert host.live
    assert host.memory.total_bytes.otherwise(0) > 1 << 20
    assert host.cpu.threads.otherwise(0) >= len(os.sched_getaffinity(0))
    (lo,) = [netdev for netdev in host.netdevs if netdev.loopback]
    assert "127.0.0.1" in lo.addresses.otherwise(())


def test_an_empty_root_gives_reasons_and_no_exception(grow: Grow) -> None:
    host = probe_host(HostFiles(grow({})), {})
    assert (host.netdevs, host.rdma.value, host.gpus.devices) == ((), (), ())
    assert host.ibverbs.reason == "the capture does not say"
    assert not host.name.known


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\n', "Debian GNU/Linux 12"),
        ("ID=x\n", None),
        ("\x00\n", None),
    ],
)
def test_the_name_of_the_system(grow: Grow, release: str, name: str | None) -> None:
    assert probe_host(HostFiles(grow({"etc/os-release": release})), {}).os.value == name


def test_a_host_becomes_json(grow: Grow) -> None:
    for host in (probe_host(this_host_files({}), {}), probe_host(HostFiles(grow({})), {})):
        topology = survey_topology(host)
        findings = [dataclasses.asdict(finding) for finding in check_host(host, topology)]
        assert json.dumps([probe_document(host, topology), *findings], allow_nan=False)
        assert "rdma-none" in {finding["id"] for finding in findings}


@pytest.mark.parametrize(
    "name",
    [
        "hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2",
        "hwloc-sysfs/nvidiagpunumanodes.tar.bz2",
        "procfs-sysfs/fixtures.ttar",
    ],
)
def test_every_reading_of_a_capture_is_a_value_or_a_reason(capture: Callable[[str], Path], name: str) -> None:
    host = probe_host(HostFiles(capture(name)), {})
    assert isinstance(host, Host)
    readings = list(_readings(dataclasses.asdict(host)))
    assert len(readings) > 20
    for reading in readings:
        assert (reading["value"] is None) == bool(reading["reason"]), reading
        assert reading["source"]


def _readings(value: object) -> list[dict[str, object]]:
    if isinstance(value, dict):
        if set(value) == {"value", "source", "reason"}:
            return [value, *_readings(value["value"])]
        return [reading for part in value.values() for reading in _readings(part)]
    if isinstance(value, (tuple, list)):
        return [reading for part in value for reading in _readings(part)]
    return []


def test_a_capture_brings_its_own_environment(grow: Grow) -> None:
    """What hides GPUs from the person who reads a dump says nothing about the node that it was made on."""
    facts = json.dumps({"environ": {"CUDA_VISIBLE_DEVICES": "1", "broken": 3}})
    gpu = "sys/bus/pci/devices/0000:%02x:00.0/%s"
    tree = {
        gpu % (bus, name): text for bus in (1, 2) for name, text in (("class", "0x030200\n"), ("vendor", "0x10de\n"))
    }
    files = HostFiles(grow(tree | {"pdpanel/facts.json": facts}))
    host = probe_host(files, {"CUDA_VISIBLE_DEVICES": "0"})
    assert [gpu.visible_index.value for gpu in host.gpus.devices] == [None, 0]
