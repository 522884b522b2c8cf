"""The NICs of each GPU for SGLang, and the option's value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pdpanel.nic_probe.gpus.gpu import Gpu
from pdpanel.nic_probe.topology.choice import choose_nics, ib_device_map, ib_device_value
from pdpanel.nic_probe.topology.paths import GpuNicPath, PathClass
from pdpanel.nic_probe.topology.survey import Topology, survey_topology
from simulated_host import make_gpu, make_host, make_nic, make_pci, make_pci_tree, read, unread

NICS = [make_nic(f"mlx5_{number}", f"0000:{number + 16:02x}:00.0") for number in range(4)]


def choose(*levels: str, fit: set[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Returns the choice for GPUs given by the classes of mlx5_0, mlx5_1 and so on, such as `PIX SYS`."""
    paths = [
        GpuNicPath(f"gpu{gpu}", f"mlx5_{number}", PathClass(level), 0, "sysfs", "told")
        for gpu, told in enumerate(levels)
        for number, level in enumerate(told.split())
    ]
    return dict(choose_nics(paths, NICS, {nic.name for nic in NICS} if fit is None else fit))


def test_nearest_nics_are_named_all_that_are_equally_near() -> None:
    assert choose("PIX PIX PXB SYS", "SYS SYS NODE PHB") == {"gpu0": ("mlx5_0", "mlx5_1"), "gpu1": ("mlx5_3",)}


def test_of_equally_near_nics_those_on_the_gpu_s_own_node_are_named() -> None:
    """A virtual machine with one root for two NUMA nodes: the class is the same for all."""
    nics = [make_nic(f"mlx5_{number}", f"0000:00:0{number}.0", numa_node=read(number)) for number in range(2)]
    paths = [GpuNicPath(f"gpu{gpu}", nic.name, PathClass.PHB, 0, "sysfs", "told") for gpu in range(4) for nic in nics]
    chosen = choose_nics(paths, nics, {"mlx5_0", "mlx5_1"}, {"gpu0": 0, "gpu1": 1, "gpu2": 7})
    both = ("mlx5_0", "mlx5_1")
    assert chosen == {"gpu0": ("mlx5_0",), "gpu1": ("mlx5_1",), "gpu2": both, "gpu3": both}


def test_unfit_nic_is_not_named_even_if_it_is_the_nearest() -> None:
    assert choose("PIX NODE SYS SYS", fit={"mlx5_1", "mlx5_2"}) == {"gpu0": ("mlx5_1",)}
    assert choose("PIX NODE", fit=set()) == {"gpu0": ()}


def test_unknown_ways_count_like_the_longest() -> None:
    assert choose("UNKNOWN NODE SYS") == {"gpu0": ("mlx5_1",)}
    assert choose("UNKNOWN SYS UNKNOWN") == {"gpu0": ("mlx5_0", "mlx5_1", "mlx5_2")}


def test_virtual_function_is_not_named_beside_its_physical_one() -> None:
    virtual = make_nic("mlx5_9", "0000:10:00.2", physical_function=read("mlx5_0"))
    paths = [GpuNicPath("gpu0", name, PathClass.PIX, 0, "sysfs", "told") for name in ("mlx5_0", "mlx5_9")]
    assert choose_nics(paths, [NICS[0], virtual], {"mlx5_0", "mlx5_9"}) == {"gpu0": ("mlx5_0",)}
    assert choose_nics(paths, [NICS[0], virtual], {"mlx5_9"}) == {"gpu0": ("mlx5_9",)}
    paths[0] = GpuNicPath("gpu0", "mlx5_0", PathClass.SYS, 0, "sysfs", "told")
    assert choose_nics(paths, [NICS[0], virtual], {"mlx5_0", "mlx5_9"}) == {"gpu0": ("mlx5_9",)}


def topology(**ib_devices: tuple[str, ...]) -> Topology:
    return Topology((), (), {}, {}, ib_devices, {})


@pytest.fixture
def gpus() -> tuple[Gpu, ...]:
    """Three GPUs of which the process sees the last as 0 and the first as 1."""
    return (
        make_gpu("a", visible_index=read(1)),
        make_gpu("b", visible_index=unread("is hidden")),
        make_gpu("c", visible_index=read(0)),
    )


def test_map_goes_by_the_numbers_that_the_process_sees(gpus: tuple[Gpu, ...], tmp_path: Path) -> None:
    found = topology(a=("mlx5_0", "mlx5_1"), b=("mlx5_7",), c=("mlx5_2",))
    host = make_host(tmp_path, gpus)
    assert ib_device_map(found, host) == {"0": "mlx5_2", "1": "mlx5_0,mlx5_1"}
    value = ib_device_value(found, host)
    assert value == '{"0": "mlx5_2", "1": "mlx5_0,mlx5_1"}'
    assert list(json.loads(value)) == ["0", "1"]


def test_value_is_a_plain_list_where_all_gpus_have_the_same_nics(gpus: tuple[Gpu, ...], tmp_path: Path) -> None:
    same = topology(a=("mlx5_0", "mlx5_1"), b=("mlx5_7",), c=("mlx5_0", "mlx5_1"))
    assert ib_device_value(same, make_host(tmp_path, gpus)) == "mlx5_0,mlx5_1"
    assert ib_device_value(topology(a=("erdma_0",)), make_host(tmp_path, gpus[:1])) == "erdma_0"


def test_value_is_empty_without_nics_or_gpus(gpus: tuple[Gpu, ...], tmp_path: Path) -> None:
    assert ib_device_value(topology(a=(), b=(), c=()), make_host(tmp_path, gpus)) == ""
    assert ib_device_value(topology(), make_host(tmp_path)) == ""
    assert ib_device_map(topology(b=("mlx5_0",)), make_host(tmp_path, gpus)) == {}


def test_addresses_are_no_names_for_sglang(tmp_path: Path) -> None:
    """SGLang refuses to start with a name that /sys/class/infiniband does not list."""
    gpu, nic = "0000:18:00.0", "0000:19:00.0"
    tree = make_pci_tree(make_pci(gpu, "pci0000:16", "0000:16:01.0"), make_pci(nic, "pci0000:16", "0000:16:02.0"))
    named = make_host(tmp_path, (make_gpu(gpu),), (make_nic("mlx5_0", nic),), pci=tree)
    assert ib_device_value(survey_topology(named), named) == "mlx5_0"
    unnamed = make_host(tmp_path, (make_gpu(gpu),), (make_nic(nic, nic),), pci=tree)
    topology = survey_topology(unnamed)
    assert topology.ib_devices == {gpu: (nic,)}
    assert ib_device_value(topology, unnamed) == ""
    assert any("names no RDMA device" in note for note in topology.notes)
