"""How near two devices are, by the table of nvidia-smi's classes, on trees that the tests make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.topology.paths import PathClass, hides_switches, path_class
from pdpanel.nic_probe.topology.pci import PciDevice, PcieLink

ROOT, PORT, SWITCH = "pci0000:16", "0000:16:01.0", "0000:17:00.0"


def device(*chain: str, numa: int | None = 0) -> PciDevice:
    """Returns a function with this chain and nothing else that is known; one entry alone has no chain."""
    unknown = Reading.unreadable("test", "not told")
    return PciDevice(
        address=chain[-1],
        chain=chain if len(chain) > 1 else (),
        path="/".join(("sys/devices", *chain)),
        class_code=unknown,
        vendor=unknown,
        device=unknown,
        driver=unknown,
        numa_node=unknown if numa is None else Reading(numa, "test"),
        link=PcieLink(unknown, unknown, unknown, unknown),
        physical_function=unknown,
    )


def judge(gpu: PciDevice | None, nic: PciDevice | None, *, flattened: bool = False, nodes: int = 2) -> tuple[str, str]:
    level, reason = path_class(gpu, nic, flattened=flattened, nodes=nodes)
    return str(level), reason


GPU = device(ROOT, PORT, SWITCH, "0000:18:00.0", "0000:19:00.0")


@pytest.mark.parametrize(
    ("nic", "level", "reason"),
    [
        pytest.param((ROOT, PORT, SWITCH, "0000:18:01.0", "0000:1a:00.0"), "PIX", SWITCH, id="two ports of a switch"),
        pytest.param((ROOT, PORT, SWITCH, "0000:1a:00.0"), "PIX", SWITCH, id="no port of its own"),
        pytest.param((ROOT, PORT, SWITCH, "0000:18:00.0", "0000:19:00.1"), "PIX", "0000:18:00.0", id="one card"),
        pytest.param(
            (ROOT, PORT, SWITCH, "0000:18:01.0", "0000:20:00.0", "0000:21:00.0", "0000:22:00.0"),
            *("PXB", SWITCH),
            id="a switch below the switch",
        ),
        pytest.param(
            (ROOT, PORT, SWITCH, "0000:18:01.0", "0000:20:00.0", "0000:21:00.0"),
            "PXB",
            SWITCH,
            id="a card with a bridge",
        ),
        pytest.param((ROOT, PORT, "0000:1a:00.0"), "PXB", PORT, id="beside the switch"),
        pytest.param((ROOT, "0000:16:02.0", "0000:40:00.0"), "PHB", ROOT, id="another port of the root"),
        pytest.param((ROOT, "0000:16:05.0"), "PHB", ROOT, id="on the root itself"),
        pytest.param(("pci0000:40", "0000:40:01.0", "0000:41:00.0"), "NODE", "NUMA node 0", id="another root"),
    ],
)
def test_table_of_real_trees(nic: tuple[str, ...], level: str, reason: str) -> None:
    found, why = judge(GPU, device(*nic))
    assert found == level
    assert reason in why


def test_other_numa_node_is_the_farthest() -> None:
    assert judge(GPU, device("pci0000:80", "0000:81:00.0", numa=1)) == ("SYS", "different NUMA nodes 0 and 1")


def test_below_one_root_the_numa_node_does_not_matter() -> None:
    assert judge(device(*GPU.chain, numa=None), device(ROOT, PORT, SWITCH, "0000:1a:00.0", numa=1))[0] == "PIX"
    assert judge(device(*GPU.chain, numa=None), device(ROOT, "0000:1a:00.0", numa=None))[0] == "PHB"


@pytest.mark.parametrize(
    ("gpu_node", "nic_node", "whose"),
    [(None, 0, "the GPU"), (0, None, "the NIC"), (None, None, "the GPU and the NIC")],
)
def test_unknown_numa_node_is_not_far(gpu_node: int | None, nic_node: int | None, whose: str) -> None:
    nic = device("pci0000:80", "0000:81:00.0", numa=nic_node)
    level, reason = judge(device(*GPU.chain, numa=gpu_node), nic)
    assert level == "UNKNOWN"
    assert reason == f"NUMA node of {whose} unknown, perhaps SYS"
    assert judge(device(*GPU.chain, numa=gpu_node), nic, nodes=1)[0] == "NODE"
    assert judge(device(*GPU.chain, numa=gpu_node), nic, nodes=0)[0] == "UNKNOWN"


def test_device_that_the_source_does_not_show() -> None:
    assert judge(None, GPU) == ("UNKNOWN", "the GPU has no place in the PCI tree")
    assert judge(GPU, None) == ("UNKNOWN", "the NIC has no place in the PCI tree")
    assert judge(None, GPU, nodes=1)[0] == "UNKNOWN"


@pytest.mark.parametrize("flattened", [False, True])
def test_without_a_tree_the_numa_node_decides(flattened: bool) -> None:
    bare = device("0004:05:00.0", numa=8)
    level, reason = judge(bare, device("0005:01:00.0", numa=8))
    assert level == "NODE"
    assert "no PCI tree" in reason and "perhaps nearer" in reason
    assert judge(bare, device("0005:01:00.0", numa=8), flattened=flattened)[0] == "NODE"
    assert judge(bare, device("0005:01:00.0", numa=0), flattened=flattened)[0] == "SYS"
    assert judge(bare, device("0005:01:00.0", numa=None), flattened=flattened)[0] == "UNKNOWN"
    assert judge(bare, GPU, flattened=flattened)[0] == "SYS"


@pytest.mark.parametrize(
    ("nic", "level"),
    [
        (("cpu0", "ffff:ff:01.0", "0103:00:00.0"), "PIX"),
        (("cpu0", "ffff:ff:01.0", "ffff:ff:02.0", "0103:00:00.0"), "PXB"),
        (("cpu0", "ffff:ff:02.0", "0103:00:00.0"), "PHB"),
        (("cpu0", "0103:00:00.0"), "PHB"),
        (("cpu1", "0103:00:00.0"), "SYS"),
    ],
)
def test_table_of_trees_with_one_node_for_a_switch(nic: tuple[str, ...], level: str) -> None:
    gpu = device("cpu0", "ffff:ff:01.0", "0003:00:00.0")
    assert judge(gpu, device(*nic, numa=int(nic[0][3:])), flattened=True)[0] == level


def test_switch_below_a_switch_on_the_side_of_the_gpu_is_as_far() -> None:
    gpu = device("cpu0", "0000:43:00.0", "0000:46:00.0", "0000:48:00.0", "0000:4a:00.0")
    assert judge(gpu, device("cpu0", "0000:43:00.0", "0000:45:00.0"), flattened=True)[0] == "PXB"


def test_one_cpu_under_two_roots_of_a_flattened_tree() -> None:
    gpu = device("pci0000:10", "0000:10:00.0")
    assert judge(gpu, device("pci0000:20", "0000:20:00.0"), flattened=True)[0] == "PHB"
    assert judge(gpu, device("pci0000:20", "0000:20:00.0", numa=None), flattened=True)[0] == "SYS"


def test_guest_that_sees_every_device_on_one_root() -> None:
    gpu, nic = device("pci0000:00", "0000:00:16.0", numa=None), device("pci0000:00", "0000:00:15.0", numa=None)
    assert judge(gpu, nic)[0] == "PHB"
    assert hides_switches((gpu, nic))


def test_guest_that_sees_every_device_on_a_root_of_its_own() -> None:
    gpu, nic = device("pci0001:00", "0001:00:00.0", numa=None), device("pci0101:00", "0101:00:00.0", numa=None)
    assert judge(gpu, nic, nodes=4)[0] == "UNKNOWN"
    assert judge(gpu, nic, nodes=1)[0] == "NODE"
    assert hides_switches((gpu, nic))


def test_one_bridge_is_enough_to_show_that_none_is_hidden() -> None:
    assert not hides_switches((GPU, device("pci0000:00", "0000:00:15.0")))
    assert not hides_switches((device("0004:05:00.0"),))
    assert not hides_switches(())


def test_classes_rank_by_distance_and_unknown_like_the_farthest() -> None:
    ranks = [level.rank for level in (PathClass.PIX, PathClass.PXB, PathClass.PHB, PathClass.NODE, PathClass.SYS)]
    assert ranks == sorted(set(ranks))
    assert PathClass.UNKNOWN.rank == PathClass.SYS.rank


@st.composite
def devices(draw: st.DrawFn) -> PciDevice:
    """A function somewhere in a small tree, so that two of them often share some of it."""
    root = draw(st.sampled_from(["pci0000:00", "pci0000:80"]))
    bridges = [f"0000:{depth:02x}:0{draw(st.integers(0, 1))}.0" for depth in range(draw(st.integers(0, 4)))]
    end = f"0000:f{draw(st.integers(0, 9))}:00.0"
    return device(root, *bridges, end, numa=draw(st.sampled_from([None, 0, 1])))


@given(one=devices(), other=devices(), flattened=st.booleans(), nodes=st.integers(0, 3))
def test_the_way_back_is_as_long(one: PciDevice, other: PciDevice, flattened: bool, nodes: int) -> None:
    there, back = (judge(*pair, flattened=flattened, nodes=nodes)[0] for pair in ((one, other), (other, one)))
    assert there == back


@given(one=devices(), other=devices(), flattened=st.booleans(), nodes=st.integers(0, 3))
def test_what_shares_a_root_is_never_farther_than_it(
    one: PciDevice, other: PciDevice, flattened: bool, nodes: int
) -> None:
    level, reason = path_class(one, other, flattened=flattened, nodes=nodes)
    same_root = one.chain[0] == other.chain[0]
    assert reason
    assert same_root == (level.rank <= PathClass.PHB.rank) or (flattened and level is PathClass.PHB)
    if level in (PathClass.PIX, PathClass.PXB):
        assert one.chain[:2] == other.chain[:2]


@given(one=devices(), other=devices(), nodes=st.integers(0, 3))
def test_a_known_numa_node_never_leaves_the_class_unknown(one: PciDevice, other: PciDevice, nodes: int) -> None:
    level, _ = path_class(one, other, flattened=False, nodes=nodes)
    if one.numa_node.known and other.numa_node.known:
        assert level is not PathClass.UNKNOWN
