"""Which NICs are for KV: each sign alone, signs together, and hosts on which a sign would be wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pdpanel.nic_probe.netdev import Netdev
from pdpanel.nic_probe.nics.device import Gid, RdmaDevice
from pdpanel.nic_probe.topology.fitness import NicFitness, judge_fitness
from pdpanel.nic_probe.topology.paths import GpuNicPath, PathClass
from pdpanel.nic_probe.topology.pci import PciTree
from simulated_host import make_nic, make_pci, make_pci_tree, make_port, read, unread


def nic(number: int, *, rate: float = 400.0, port: dict[str, Any] | None = None, **changes: Any) -> RdmaDevice:
    """Returns the NIC mlx5_`number` with the interface eth`number`."""
    interface = f"eth{number}"
    gid = Gid(3, f"192.168.{number}.5", read("RoCE v2"), read(interface), rank=0)
    made = make_port(**({"rate_gbps": read(rate), "netdevs": (interface,), "gids": (gid,)} | (port or {})))
    changes = {"netdevs": read((interface,)), "ports": (made,)} | changes
    return make_nic(f"mlx5_{number}", f"0000:{number + 16:02x}:00.0", **changes)


def netdev(name: str, *networks: str, default_route: bool = False, master: str = "") -> Netdev:
    return Netdev(
        name=name,
        mac=unread(),
        mtu=unread(),
        speed_mbps=unread(),
        operstate=read("up"),
        addresses=unread(),
        driver=unread(),
        pci=unread(),
        numa_node=unread(),
        loopback=False,
        master=read(master) if master else unread(),
        default_route=read(default_route),
        networks=read(networks),
    )


def paths(**levels: str) -> list[GpuNicPath]:
    """Returns ways from one GPU, given as mlx5_0="PIX"; two GPUs as mlx5_0="SYS PIX"."""
    return [
        GpuNicPath(f"0000:{gpu:02x}:00.0", name, PathClass(level), 0, "sysfs", "told")
        for name, told in levels.items()
        for gpu, level in enumerate(told.split())
    ]


def judge(
    *nics: RdmaDevice,
    ways: list[GpuNicPath] | None = None,
    netdevs: tuple[Netdev, ...] = (),
    tree: PciTree | None = None,
) -> dict[str, NicFitness]:
    judged = judge_fitness(nics, ways or [], netdevs, tree or make_pci_tree())
    assert [entry.nic for entry in judged] == [one.name for one in nics]
    return {entry.nic: entry for entry in judged}


def unfit(judged: dict[str, NicFitness]) -> set[str]:
    return {name for name, entry in judged.items() if not entry.fit}


def test_plain_nics_are_fit_without_signs() -> None:
    judged = judge(nic(0), nic(1), ways=paths(mlx5_0="PIX SYS", mlx5_1="SYS PIX"))
    assert judged == {name: NicFitness(name, True, ()) for name in ("mlx5_0", "mlx5_1")}


@pytest.mark.parametrize(
    ("changes", "sign"),
    [
        ({"usable": False, "why_not": "The port is DOWN."}, "The port is DOWN."),
        ({"usable": False}, "It is not usable."),
        ({"ports": (make_port(state=read("DOWN")), make_port(2, state=read("INIT")))}, "It has no ACTIVE port."),
        ({"management": read(True)}, "It is the management function of a switch and carries no KV."),
        ({"node_type": read("Switch")}, "It is the management function of a switch and carries no KV."),
        (
            {"ports": (make_port(link_layer=read("InfiniBand"), pkeys=(0x7FFF,)),)},
            "It is a limited member of its partitions (pkey 0x7fff), as management ports are.",
        ),
    ],
)
def test_one_hard_sign_makes_unfit_even_the_only_nic(changes: dict[str, Any], sign: str) -> None:
    judged = judge(nic(0, **changes))
    assert judged["mlx5_0"] == NicFitness("mlx5_0", False, (sign,))
    assert unfit(judge(nic(0, **changes), nic(1))) == {"mlx5_0"}


def test_unknown_is_no_sign() -> None:
    unsure = nic(0, usable=None, why_not="/dev is not captured", management=unread(), node_type=unread())
    silent = nic(1, port={"state": unread(), "rate_gbps": unread(), "link_layer": unread(), "pkeys": ()})
    assert unfit(judge(unsure, silent, nic(2))) == set()
    assert judge(unsure)["mlx5_0"].signs == ()


def test_one_full_membership_is_enough_and_ethernet_has_none() -> None:
    both = nic(0, port={"link_layer": read("InfiniBand"), "pkeys": (0x7FFF, 0x8001)})
    ethernet = nic(1, port={"pkeys": (0x7FFF,)})
    assert unfit(judge(both)) == unfit(judge(ethernet)) == set()


def test_nic_at_half_the_rate_is_for_storage_or_management() -> None:
    judged = judge(nic(0), nic(1), nic(2, rate=200.0), nic(3, rate=25.0))
    assert unfit(judged) == {"mlx5_2", "mlx5_3"}
    assert judged["mlx5_2"].signs == ("It runs at 200 Gb/s, while mlx5_0 runs at 400.",)


def test_rate_of_an_unfit_nic_or_of_a_port_that_is_down_is_no_yardstick() -> None:
    faster = nic(0, rate=800.0, management=read(True))
    down = nic(1, rate=800.0, port={"state": read("DOWN"), "rate_gbps": read(800.0)}, usable=False)
    assert unfit(judge(faster, down, nic(2, rate=100.0))) == {"mlx5_0", "mlx5_1"}
    second = make_port(2, state=read("DOWN"), rate_gbps=read(800.0))
    two_ports = nic(0, ports=(make_port(rate_gbps=read(100.0)), second))
    assert unfit(judge(two_ports, nic(1, rate=100.0))) == set()


def test_one_fast_uplink_does_not_make_the_many_unfit() -> None:
    many = [nic(number, rate=200.0) for number in range(8)]
    judged = judge(*many, nic(8, rate=400.0))
    assert unfit(judged) == set()
    assert judged["mlx5_0"].signs == ("It runs at 200 Gb/s, the fastest, mlx5_8, at 400.",)
    assert judged["mlx5_8"].signs == ()


def test_software_device_is_unfit_beside_hardware_alone() -> None:
    software = replace(nic(1), pci=unread(), driver=read("rdma_rxe"))
    assert unfit(judge(software)) == set()
    judged = judge(nic(0), software)
    assert unfit(judged) == {"mlx5_1"}
    assert judged["mlx5_1"].signs == ("It is RDMA in software (rdma_rxe), while mlx5_0 is hardware.",)
    assert unfit(judge(replace(nic(0), driver=unread()), software)) == set()


@pytest.mark.parametrize("level", ["NODE", "SYS", "UNKNOWN"])
def test_one_soft_sign_is_shown_and_leaves_the_nic_fit(level: str) -> None:
    judged = judge(nic(0), nic(1), ways=paths(mlx5_0="PIX SYS", mlx5_1=f"{level} SYS"))
    assert unfit(judged) == set()
    assert judged["mlx5_1"].signs[0].startswith("It is no nearer to any GPU than")
    assert "mlx5_0 is PIX to one" in judged["mlx5_1"].signs[0]
    assert judged["mlx5_0"].signs == ()


def test_far_from_all_gpus_means_nothing_where_every_nic_is() -> None:
    assert unfit(judge(nic(0), nic(1), ways=paths(mlx5_0="SYS", mlx5_1="SYS"))) == set()
    judged = judge(nic(0), nic(1), ways=paths(mlx5_0="SYS", mlx5_1="UNKNOWN"))
    assert [entry.signs for entry in judged.values()] == [(), ()]


def test_two_soft_signs_make_unfit() -> None:
    route = (netdev("eth0"), netdev("eth1", default_route=True))
    judged = judge(nic(0), nic(1), ways=paths(mlx5_0="PIX", mlx5_1="NODE"), netdevs=route)
    assert unfit(judged) == {"mlx5_1"}
    assert judged["mlx5_1"].signs[1] == "It carries the default route (eth1)."


def test_soft_signs_never_take_the_last_nic() -> None:
    route = (netdev("eth0"), netdev("eth1", default_route=True))
    ways = paths(mlx5_0="PIX", mlx5_1="NODE")
    judged = judge(nic(0, usable=False), nic(1), ways=ways, netdevs=route)
    assert unfit(judged) == {"mlx5_0"}
    # Each of the two has two signs.
    first, second = nic(0, rate=300.0), nic(1)
    both = (netdev("eth0", default_route=True), netdev("eth1", default_route=True))
    assert unfit(judge(first, second, ways=ways, netdevs=both)) == set()


@pytest.mark.parametrize(
    ("interfaces", "shown"),
    [
        ((netdev("eth1.100", default_route=True), netdev("eth1")), "eth1.100"),
        ((netdev("eth1", master="bond0"), netdev("bond0", default_route=True)), "bond0"),
        ((netdev("eth1", master="bond0"), netdev("bond0", master="br0"), netdev("br0", default_route=True)), "br0"),
        ((netdev("eth1", master="a"), netdev("a", master="eth1"), netdev("eth1.5", default_route=True)), "eth1.5"),
    ],
)
def test_default_route_by_a_vlan_a_bond_and_a_bridge(interfaces: tuple[Netdev, ...], shown: str) -> None:
    judged = judge(nic(0), nic(1), netdevs=interfaces)
    assert judged["mlx5_1"].signs == (f"It carries the default route ({shown}).",)
    assert judged["mlx5_0"].signs == ()


def test_default_route_says_nothing_where_every_nic_carries_it() -> None:
    both = (netdev("eth0", default_route=True), netdev("eth1", default_route=True))
    assert [entry.signs for entry in judge(nic(0), nic(1), netdevs=both).values()] == [(), ()]
    assert judge(nic(0), netdevs=both)["mlx5_0"].signs == ()


def test_network_of_the_minority_is_a_sign() -> None:
    nets = tuple(netdev(f"eth{number}", "10.0.0.0/24", "fe80::/64") for number in range(3))
    judged = judge(*(nic(number) for number in range(4)), netdevs=(*nets, netdev("eth3", "172.16.0.0/16", "fe80::/64")))
    assert judged["mlx5_3"].signs == ("Its network is 172.16.0.0/16, that of most others 10.0.0.0/24.",)
    assert all(judged[f"mlx5_{number}"].signs == () for number in range(3))


def test_rails_with_a_network_each_have_no_minority() -> None:
    rails = [netdev(f"eth{number}", f"10.0.{number}.0/31") for number in range(6)]
    storage = [netdev(f"eth{number}", "172.16.0.0/16") for number in (6, 7)]
    judged = judge(*(nic(number) for number in range(8)), netdevs=(*rails, *storage))
    assert all(entry.signs == () for entry in judged.values())


def test_network_that_is_not_known_is_none() -> None:
    nets = (netdev("eth0", "10.0.0.0/24"), netdev("eth1", "10.0.0.0/24"), netdev("eth2", "10.9.0.7/32", "nonsense"))
    judged = judge(nic(0), nic(1), nic(2), nic(3), netdevs=nets)
    assert all(entry.signs == () for entry in judged.values())


def test_network_of_infiniband_is_the_prefix_of_its_first_gid() -> None:
    def fabric(number: int, prefix: str) -> RdmaDevice:
        gid = Gid(0, f"{prefix}2:c903:f9:bfa{number}", unread(), unread())
        return nic(number, port={"link_layer": read("InfiniBand"), "gids": (gid,), "netdevs": ()})

    judged = judge(fabric(0, "fe80::"), fabric(1, "fe80::"), fabric(2, "fec0:0:0:7:"))
    assert judged["mlx5_2"].signs == ("Its network is fec0:0:0:7::/64, that of most others fe80::/64.",)


def test_link_layer_of_the_minority_is_a_sign() -> None:
    infiniband = {"link_layer": read("InfiniBand"), "gids": ()}
    judged = judge(nic(0, port=infiniband), nic(1, port=infiniband), nic(2))
    assert judged["mlx5_2"].signs == ("Its link layer is Ethernet, that of most others InfiniBand.",)
    assert all(entry.signs == () for entry in judge(nic(0, port=infiniband), nic(1)).values())


def test_ethernet_beside_an_infiniband_fabric_is_for_storage() -> None:
    """A storage NIC of the same rate below the same switch: its traffic cannot reach the fabric of the others."""
    infiniband = {"link_layer": read("InfiniBand"), "gids": ()}
    fabric = [nic(number, port=infiniband) for number in range(2)]
    near = paths(mlx5_0="PIX SYS", mlx5_1="SYS PIX", mlx5_2="PIX SYS")
    assert unfit(judge(*fabric, nic(2), ways=near)) == {"mlx5_2"}
    assert unfit(judge(*fabric, nic(2))) == {"mlx5_2"}
    # It is the nearest to one of the GPUs, or there are as many of either kind: who knows.
    assert unfit(judge(*fabric, nic(2), ways=paths(mlx5_0="PIX SYS", mlx5_1="SYS SYS", mlx5_2="SYS PIX"))) == set()
    assert unfit(judge(fabric[0], nic(2))) == set()
    # Of most others Ethernet, InfiniBand is rather what was bought for the GPUs.
    assert unfit(judge(fabric[0], nic(2), nic(3))) == set()


def test_virtual_function_shares_a_port_and_stays_fit() -> None:
    judged = judge(nic(0), nic(1, physical_function=read("mlx5_0")), nic(2, physical_function=read("0000:10:00.0")))
    assert unfit(judged) == set()
    assert judged["mlx5_1"].signs == judged["mlx5_2"].signs == ("It shares the physical port with mlx5_0.",)
    alone = judge(nic(1, physical_function=read("0000:99:00.0")))
    assert alone["mlx5_1"].signs == ()
    assert judge(nic(1, physical_function=read("mlx5_1")))["mlx5_1"].signs == ()


def test_efa_is_fit_and_says_that_it_takes_another_transport() -> None:
    sign = "Mooncake's RDMA transport does not run on EFA; use its efa transport."
    assert judge(nic(0, driver=read("efa")))["mlx5_0"] == NicFitness("mlx5_0", True, (sign,))
    # A topology file tells the PCI numbers alone.
    adapter = make_pci("0000:10:00.0", vendor=read("0x1d0f"), device=read("0xefa2"))
    plain = make_pci("0000:11:00.0", vendor=read("0x1d0f"), device=read("0xec20"))
    blank = make_pci("0000:12:00.0", vendor=unread(), device=read("efa2"))
    nics = (nic(number, driver=unread()) for number in range(4))
    judged = judge(*nics, tree=make_pci_tree(adapter, plain, blank))
    assert [entry.signs for entry in judged.values()] == [(sign,), (), (), ()]


def test_doubts_about_a_port_are_shown_and_do_not_count() -> None:
    judged = judge(nic(0, port={"doubts": ("It speaks iWARP.", "Its GIDs are link-local.")}), nic(1))
    assert judged["mlx5_0"] == NicFitness("mlx5_0", True, ("It speaks iWARP.", "Its GIDs are link-local."))


def test_no_nics_at_all() -> None:
    assert judge_fitness((), (), (), make_pci_tree()) == ()
