"""Mooncake's rule: its distance, its ties, what it passes over, and the file that it reads."""

from __future__ import annotations

import json
import posixpath
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.gpus.gpu import Vendor
from pdpanel.nic_probe.topology.mooncake import (
    GpuPlace,
    NicPlace,
    gpu_place,
    mooncake_candidate,
    mooncake_filter,
    mooncake_topology,
    nic_place,
    pci_distance,
    to_mooncake_json,
)
from simulated_host import make_gpu, make_nic, make_pci, make_pci_tree, make_port, read, unread

ROOT = "sys/devices/pci0000:16/0000:16:01.0/0000:17:00.0"
GPU = GpuPlace("cuda:0", f"{ROOT}/0000:18:00.0/0000:19:00.0", 0)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        pytest.param("a/pci0000:00/0000:00:01.0/0000:01:00.0", "a/pci0000:00/0000:00:01.0/0000:01:00.1", 0, id="card"),
        pytest.param(f"{ROOT}/0000:18:00.0", f"{ROOT}/0000:18:01.0", 0, id="siblings"),
        pytest.param(f"{ROOT}/0000:18:00.0", f"{ROOT}/0000:28:01.0", 0, id="siblings with a longer common beginning"),
        pytest.param(f"{ROOT}/0000:18:00.0/0000:19:00.0", f"{ROOT}/0000:18:01.0/0000:1a:00.0", 2, id="two ports"),
        pytest.param("sys/devices/pci0000:00/0000:00:15.0", "sys/devices/pci0000:00/0000:00:16.0", 0, id="flat guest"),
        pytest.param("sys/devices/pci0000:00/0000:00:15.0", "sys/devices/pci0000:80/0000:80:16.0", 2, id="two roots"),
        pytest.param(
            "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0", "sys/devices/pci0000:80/0000:80:16.0", 3, id="depths"
        ),
        pytest.param(f"{ROOT}/0000:18:00.0", f"{ROOT}/0000:18:00.0", 0, id="the same"),
        pytest.param(f"{ROOT}/0000:18:00.0", ROOT, 1, id="one above the other"),
        pytest.param("", ROOT, -1, id="missing"),
        pytest.param(ROOT, "", -1, id="missing too"),
        pytest.param("", "", -1, id="both missing"),
    ],
)
def test_distance(one: str, other: str, distance: int) -> None:
    assert pci_distance(one, other) == distance
    assert pci_distance(other, one) == distance
    if one and other:
        assert pci_distance("/" + one, "/" + other) == distance


def test_nearest_on_the_own_numa_node_wins_and_ties_are_all_preferred() -> None:
    nics = [
        NicPlace("mlx5_0", f"{ROOT}/0000:18:01.0/0000:1a:00.0", 0),
        NicPlace("mlx5_1", f"{ROOT}/0000:18:02.0/0000:1b:00.0", 0),
        NicPlace("mlx5_2", "sys/devices/pci0000:16/0000:16:02.0/0000:30:00.0", 0),
        NicPlace("mlx5_3", f"{ROOT}/0000:18:00.0/0000:19:00.1", 1),
    ]
    assert mooncake_topology(nics, [GPU], [0, 1]) == {
        "cpu:0": (("mlx5_0", "mlx5_1", "mlx5_2"), ("mlx5_3",)),
        "cpu:1": (("mlx5_3",), ("mlx5_0", "mlx5_1", "mlx5_2")),
        # mlx5_3 shares the GPU's slot (distance 0), and is passed over because of its node.
        "cuda:0": (("mlx5_0", "mlx5_1"), ("mlx5_2", "mlx5_3")),
    }


def test_without_a_nic_on_the_own_node_all_are_looked_at() -> None:
    far = NicPlace("mlx5_0", "sys/devices/pci0000:80/0000:80:01.0/0000:81:00.0", 1)
    near = NicPlace("mlx5_1", f"{ROOT}/0000:18:01.0/0000:1a:00.0", -1)
    assert mooncake_topology([far, near], [GPU], [0, 1]) == {
        "cpu:0": ((), ("mlx5_0", "mlx5_1")),
        "cpu:1": (("mlx5_0",), ("mlx5_1",)),
        "cuda:0": (("mlx5_1",), ("mlx5_0",)),
    }


def test_two_unknown_numa_nodes_are_not_the_same_one() -> None:
    far = NicPlace("mlx5_0", "sys/devices/pci0000:80/0000:81:00.0", -1)
    near = NicPlace("mlx5_1", f"{ROOT}/0000:18:01.0/0000:1a:00.0", 0)
    gpu = GpuPlace("cuda:0", GPU.path, -1)
    assert mooncake_topology([far, near], [gpu], [0])["cuda:0"] == (("mlx5_1",), ("mlx5_0",))


def test_numa_node_unknown_is_preferred_for_no_cpu() -> None:
    nics = [NicPlace("rxe0", "", -1)]
    assert mooncake_topology(nics, [], [0, 1]) == {"cpu:0": ((), ("rxe0",)), "cpu:1": ((), ("rxe0",))}


def test_missing_path_is_never_preferred_even_if_it_is_the_only_nic_of_the_node() -> None:
    lost = NicPlace("mlx5_0", "", 0)
    other = NicPlace("mlx5_1", f"{ROOT}/0000:18:01.0/0000:1a:00.0", 1)
    assert mooncake_topology([lost, other], [GPU], [0])["cuda:0"] == ((), ("mlx5_0", "mlx5_1"))
    assert mooncake_topology([lost], [GPU], [0])["cuda:0"] == ((), ("mlx5_0",))
    assert mooncake_topology([other], [GpuPlace("cuda:0", "", 0)], [0])["cuda:0"] == ((), ("mlx5_1",))


def test_guest_with_one_root_prefers_every_nic() -> None:
    nics = [NicPlace(f"rdma{slot}", f"sys/devices/pci0000:00/0000:00:{slot}.0", -1) for slot in (14, 15)]
    gpu = GpuPlace("cuda:3", "sys/devices/pci0000:00/0000:00:1d.0", -1)
    assert mooncake_topology(nics, [gpu], [0, 1])["cuda:3"] == (("rdma14", "rdma15"), ())


def test_nic_that_is_never_to_be_chosen_is_one_of_the_others() -> None:
    nics = [
        NicPlace("mlx5_0", f"{ROOT}/0000:18:01.0/0000:1a:00.0", 0),
        NicPlace("mlx5_1", "sys/devices/pci0000:80/0000:81:00.0", 1),
        NicPlace("mlx5_2", f"{ROOT}/0000:18:02.0/0000:1b:00.0", 1),
    ]
    rows = mooncake_topology(nics, [GPU], [0, 1], never={"mlx5_0"})
    assert rows == {
        "cpu:0": ((), ("mlx5_0", "mlx5_1", "mlx5_2")),
        "cpu:1": (("mlx5_1", "mlx5_2"), ("mlx5_0",)),
        # No NIC is left on the GPU's node, so the nearest of all is taken.
        "cuda:0": (("mlx5_2",), ("mlx5_0", "mlx5_1")),
    }


def test_every_node_of_the_kernel_has_a_row_also_one_of_memory_alone() -> None:
    rows = mooncake_topology([NicPlace("mlx5_0", ROOT, 8)], [], [0, 8, 255])
    assert rows == {"cpu:0": ((), ("mlx5_0",)), "cpu:8": (("mlx5_0",), ()), "cpu:255": ((), ("mlx5_0",))}


def test_without_nics_the_rows_are_empty() -> None:
    assert mooncake_topology([], [GPU], [0]) == {"cpu:0": ((), ()), "cuda:0": ((), ())}


def test_filter_is_a_list_of_exact_names() -> None:
    assert mooncake_filter({"MC_TE_FILTERS": " mlx5_0 ,,mlx5_10,"}) == {"mlx5_0", "mlx5_10"}
    assert mooncake_filter({"MC_TE_FILTERS": ""}) == mooncake_filter({}) == frozenset()


def test_filtered_device_is_passed_over() -> None:
    nic = make_nic("mlx5_1")
    assert mooncake_candidate(nic, {"mlx5_10"}) == (False, "MC_TE_FILTERS does not name it.")
    assert mooncake_candidate(nic, {"mlx5_1"}) == mooncake_candidate(nic) == (True, "")


def test_device_with_a_port_that_is_down_is_passed_over() -> None:
    port = make_port(state=read("DOWN"), usable=False)
    down = make_nic("mlx5_0", ports=(port,), usable=False, why_not="The port is DOWN.")
    assert mooncake_candidate(down) == (False, "The port is DOWN.")
    assert mooncake_candidate(make_nic("mlx5_0", ports=(port,))) == (False, "No port with a GID table is ACTIVE.")
    second = make_nic("mlx5_0", ports=(make_port(state=read("DOWN")), make_port(2)))
    assert mooncake_candidate(second) == (True, "")


def test_active_port_without_a_gid_table_is_none() -> None:
    nic = make_nic("mlx5_0", ports=(make_port(gid_table_length=read(0)),))
    assert mooncake_candidate(nic)[0] is False
    # Each of the two ports has one half of what it takes.
    half = make_nic("mlx5_0", ports=(make_port(gid_table_length=read(0)), make_port(2, state=read("INIT"))))
    assert mooncake_candidate(half)[0] is False


def test_device_that_cannot_be_opened_is_passed_over() -> None:
    shut = make_nic("mlx5_0", verbs_node=unread("permission denied"), usable=False, why_not="It may not be opened.")
    assert mooncake_candidate(shut) == (False, "It may not be opened.")
    assert mooncake_candidate(make_nic("mlx5_0", verbs_node=unread(), usable=False)) == (False, "It cannot be opened.")
    without_library = make_nic("mlx5_0", usable=False, why_not="libibverbs does not know it.")
    assert mooncake_candidate(without_library) == (False, "libibverbs does not know it.")


def test_what_the_gid_table_holds_is_not_looked_at() -> None:
    empty = make_port(gids=(), usable=False, why_not="Its GID table is empty.")
    nic = make_nic("mlx5_0", ports=(empty,), usable=False, why_not="Its GID table is empty.")
    assert mooncake_candidate(nic) == (True, "")


def test_device_of_a_capture_may_be_one() -> None:
    unsure = make_nic("mlx5_0", verbs_node=unread("not captured"), usable=None, why_not="/dev is not captured")
    assert mooncake_candidate(unsure) == (None, "/dev is not captured")
    silent = make_nic("rdmap0", ports=(make_port(state=unread(), gid_table_length=unread()),), usable=None)
    assert mooncake_candidate(silent)[0] is None
    assert mooncake_candidate(make_nic("rdmap0", ports=(), usable=None)) == (
        None,
        "The source does not show the state of its ports.",
    )
    assert mooncake_candidate(make_nic("rdmap0", ports=(), usable=True)) == (True, "")


def test_gpu_rows_go_by_the_number_that_the_process_sees() -> None:
    tree = make_pci_tree(make_pci("0000:19:00.0", "pci0000:16", "0000:16:01.0", numa_node=1))
    gpu = make_gpu("0000:19:00.0", nvml_index=read(3), cuda_index=read(2), visible_index=read(0))
    assert gpu_place(gpu, tree) == GpuPlace("cuda:0", "sys/devices/pci0000:16/0000:16:01.0/0000:19:00.0", 1)
    assert gpu_place(make_gpu("0000:19:00.0", visible_index=unread("is hidden")), tree) is None
    assert gpu_place(make_gpu("0000:99:00.0", 5), tree) == GpuPlace("cuda:5", "", -1)


@pytest.mark.parametrize(
    ("vendor", "row"),
    [(Vendor.NVIDIA, "cuda:1"), (Vendor.AMD, "hip:1"), (Vendor.HUAWEI, "npu:1"), (Vendor.INTEL, None)],
)
def test_prefix_is_that_of_the_vendors_build(vendor: Vendor, row: str | None) -> None:
    place = gpu_place(make_gpu("0000:19:00.0", 1, vendor=vendor), make_pci_tree())
    assert (None if place is None else place.row) == row


def test_place_of_a_nic_with_and_without_a_pci_device() -> None:
    tree = make_pci_tree(make_pci("0000:1a:00.0", "pci0000:16", numa_node=1))
    assert nic_place(make_nic("mlx5_0", "0000:1a:00.0"), tree) == NicPlace(
        "mlx5_0", "sys/devices/pci0000:16/0000:1a:00.0", 1
    )
    software = replace(make_nic("rxe0"), pci=unread("is virtual"), numa_node=unread())
    assert nic_place(software, tree) == NicPlace("rxe0", "", -1)


def test_file_has_exactly_two_arrays_for_each_memory() -> None:
    rows = mooncake_topology([NicPlace("mlx5_0", ROOT, 0)], [GPU], [0, 1])
    text = to_mooncake_json(rows)
    assert text.endswith("}\n")
    assert json.loads(text) == {"cpu:0": [["mlx5_0"], []], "cpu:1": [[], ["mlx5_0"]], "cuda:0": [["mlx5_0"], []]}
    assert json.loads(to_mooncake_json({})) == {}


paths = st.lists(st.sampled_from(["pci0000:00", "pci0000:80", "0000:01:00.0", "0000:01:00.1"]), max_size=4).map(
    lambda parts: "/".join(("sys/devices", *parts)) if parts else ""
)
nodes = st.integers(-1, 2)
places = st.lists(st.tuples(paths, nodes), max_size=5).map(
    lambda found: [NicPlace(f"mlx5_{number}", path, node) for number, (path, node) in enumerate(found)]
)


@given(nics=places, path=paths, node=nodes)
def test_rows_share_out_all_candidates(nics: list[NicPlace], path: str, node: int) -> None:
    rows = mooncake_topology(nics, [GpuPlace("cuda:0", path, node)], [0, 1])
    names = [nic.name for nic in nics]
    for value in json.loads(to_mooncake_json(rows)).values():
        preferred, others = value
        assert sorted(preferred + others) == names
        assert preferred == sorted(preferred) and others == sorted(others)


@given(nics=places, path=paths, node=nodes)
def test_a_nic_with_a_path_on_the_own_node_is_enough_to_prefer_one(nics: list[NicPlace], path: str, node: int) -> None:
    preferred, others = mooncake_topology(nics, [GpuPlace("cuda:0", path, node)], [])["cuda:0"]
    by_name = {nic.name: nic for nic in nics}
    own = [nic for nic in nics if nic.numa_node == node and node >= 0]
    if path and any(nic.path for nic in own):
        assert preferred
    if own:
        assert {by_name[name].numa_node for name in preferred} <= {node}
    assert all(by_name[name].path for name in preferred)
    # Nobody who was looked at and is left over is as near as those preferred.
    distances = {pci_distance(by_name[name].path, path) for name in preferred}
    assert len(distances) < 2
    for name in others:
        nic = by_name[name]
        if nic.path and preferred and (not own or nic in own):
            assert pci_distance(nic.path, path) > max(distances)


@given(one=paths, other=paths)
def test_distance_counts_the_separators_after_the_common_beginning(one: str, other: str) -> None:
    common = posixpath.commonprefix([one, other])
    expected = (one[len(common) :] + other[len(common) :]).count("/") if one and other else -1
    assert pci_distance(one, other) == expected
