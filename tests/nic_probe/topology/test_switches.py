"""The switches of a host, from trees with every port and from trees with one node for a switch."""

from __future__ import annotations

from pdpanel.nic_probe.topology.pci import PciDevice
from pdpanel.nic_probe.topology.switches import find_switches
from simulated_host import make_gpu, make_nic, make_pci, make_pci_tree

ROOT, PORT, SWITCH = "pci0000:16", "0000:16:01.0", "0000:17:00.0"


def switches(
    gpus: list[PciDevice], nics: list[PciDevice], *, flattened: bool = False
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    tree = make_pci_tree(*gpus, *nics, flattened=flattened)
    made = [make_nic(f"mlx5_{number}", nic.address) for number, nic in enumerate(nics)]
    return dict(find_switches([make_gpu(gpu.address) for gpu in gpus], made, tree))


def test_switch_is_known_by_the_port_of_the_root() -> None:
    gpu = make_pci("0000:19:00.0", ROOT, PORT, SWITCH, "0000:18:00.0")
    nic = make_pci("0000:1a:00.0", ROOT, PORT, SWITCH, "0000:18:01.0")
    other = make_pci("0000:41:00.0", "pci0000:40", "0000:40:01.0", "0000:42:00.0", "0000:43:00.0")
    beside = make_pci("0000:44:00.0", "pci0000:40", "0000:40:01.0", "0000:42:00.0", "0000:43:01.0")
    assert switches([gpu, other], [nic, beside]) == {
        PORT: (("0000:19:00.0",), ("mlx5_0",)),
        "0000:40:01.0": (("0000:41:00.0",), ("mlx5_1",)),
    }


def test_switches_below_a_switch_count_with_it() -> None:
    gpu = make_pci("0000:21:00.0", ROOT, PORT, SWITCH, "0000:18:00.0", "0000:19:00.0", "0000:20:00.0")
    nic = make_pci("0000:1a:00.0", ROOT, PORT, SWITCH, "0000:18:01.0")
    assert switches([gpu], [nic]) == {PORT: (("0000:21:00.0",), ("mlx5_0",))}


def test_slot_of_the_root_is_no_switch() -> None:
    gpu = make_pci("0000:17:00.0", ROOT, PORT)
    functions = [make_pci("0000:18:00.0", ROOT, "0000:16:02.0"), make_pci("0000:18:00.1", ROOT, "0000:16:02.0")]
    assert switches([gpu], functions) == {}


def test_card_with_a_bridge_of_its_own_is_no_switch() -> None:
    gpu = make_pci("0000:43:00.0", ROOT, PORT, "0000:41:00.0", "0000:42:00.0")
    ports = [
        make_pci(f"0000:23:00.{number}", ROOT, "0000:16:02.0", "0000:21:00.0", "0000:22:00.0") for number in (0, 1)
    ]
    assert switches([gpu], ports) == {}


def test_guest_without_bridges_and_source_without_a_tree_have_none() -> None:
    assert switches([make_pci("0000:10:1c.0", "pci0000:10")], [make_pci("0000:10:1b.0", "pci0000:10")]) == {}
    assert switches([make_pci("0004:05:00.0")], [make_pci("0004:06:00.0")]) == {}


def test_one_node_for_a_switch() -> None:
    gpus = [make_pci(f"000{number}:00:00.0", "cpu0", "ffff:ff:01.0") for number in (3, 4)]
    nics = [make_pci("0103:00:00.0", "cpu0", "ffff:ff:01.0"), make_pci("0105:00:00.0", "cpu0")]
    assert switches(gpus, nics, flattened=True) == {"ffff:ff:01.0": (("0003:00:00.0", "0004:00:00.0"), ("mlx5_0",))}


def test_device_that_the_tree_does_not_show_is_below_none() -> None:
    assert find_switches([make_gpu("0000:19:00.0")], [make_nic("rxe0")], make_pci_tree()) == {}
