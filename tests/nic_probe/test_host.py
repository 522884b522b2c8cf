from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe import Host, check_host, probe_host

Grow = Callable[[Mapping[str, str]], Path]


def test_this_host_has_a_loopback_memory_and_a_processor() -> None:
    host = probe_host()
    assert host.live
    assert host.memory.total_bytes.otherwise(0) > 1 << 20
    assert host.cpu.threads.otherwise(0) >= len(os.sched_getaffinity(0))
    (lo,) = [netdev for netdev in host.netdevs if netdev.loopback]
    assert "127.0.0.1" in lo.addresses.otherwise(())


def test_an_empty_root_gives_reasons_and_no_exception(grow: Grow) -> None:
    host = probe_host(grow({}))
    assert (host.netdevs, host.rdma.value, host.gpus.devices) == ((), (), ())
    assert host.ibverbs.reason == host.ibverbs.reason == "cannot be asked about a capture"
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
    assert probe_host(grow({"etc/os-release": release})).os.value == name


def test_a_host_becomes_json(grow: Grow) -> None:
    for host in (probe_host(), probe_host(grow({}))):
        text = json.dumps([dataclasses.asdict(value) for value in (host, *check_host(host))])
        assert "mooncake-listens-everywhere" in text


@pytest.mark.parametrize(
    "name",
    [
        "hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2",
        "hwloc-sysfs/nvidiagpunumanodes.tar.bz2",
        "procfs-sysfs/fixtures.ttar",
    ],
)
def test_every_reading_of_a_capture_is_a_value_or_a_reason(capture: Callable[[str], Path], name: str) -> None:
    host = probe_host(capture(name))
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
