from __future__ import annotations

import errno
import ipaddress
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.nics.device import Gid, RdmaPort
from pdpanel.nic_probe.nics.gids import LAST_RESORT, best_gid, is_empty_gid, rank_gid, ranked, read_gids
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import FaultyTree, gid_table, mapped, memory_tree
from simulated_host import make_port, read, unread

V1, V2 = "IB/RoCE v1", "RoCE v2"
FE80 = "fe80:0000:0000:0000:0a00:27ff:fe00:0001\n"
SUBNET_ALONE = "fe80:0000:0000:0000:0000:0000:0000:0000\n"
PLACE = "sys/class/infiniband/x/ports/1"


def _read(files: Mapping[str, str], link_layer: str | None = "Ethernet") -> tuple[tuple[Gid, ...], Reading[int]]:
    return read_gids(HostFiles(memory_tree({f"{PLACE}/{key}": text for key, text in files.items()})), PLACE, link_layer)


@pytest.mark.parametrize(
    ("address", "kind", "interface", "link_layer", "rank"),
    [
        ("8.8.8.8", V2, "eth0", "Ethernet", 0),
        ("2001:db8::1", V2, "eth0", "Ethernet", 0),
        ("8.8.8.8", V2, None, "Ethernet", 1),
        ("10.1.2.3", V2, "eth0", "Ethernet", 2),
        ("172.16.0.1", V2, "eth0", "Ethernet", 2),
        ("172.31.255.254", V2, "eth0", "Ethernet", 2),
        ("100.64.0.1", V2, "eth0", "Ethernet", 2),
        ("100.127.255.254", V2, "eth0", "Ethernet", 2),
        ("fe80::1", V2, "eth0", "Ethernet", 3),
        ("febf::1", V2, "eth0", "Ethernet", 3),
        ("8.8.8.8", V2, "flannel.1", "Ethernet", 3),
        ("8.8.8.8", V2, "cni0", "Ethernet", 3),
        ("8.8.8.8", V2, "calico1", "Ethernet", 3),
        ("8.8.8.8", V2, "vxlan.calico", "Ethernet", 3),
        ("8.8.8.8", V2, "docker0", "Ethernet", 3),
        ("8.8.8.8", V2, "tunl0", "Ethernet", 3),
        ("10.1.2.3", V2, "flannel.1", "Ethernet", 3),
        ("10.1.2.3", V2, None, "Ethernet", 4),
        ("fe80::1", V2, None, "Ethernet", 5),
        # What only looks like one of the rows above.
        ("192.168.1.5", V2, "eth0", "Ethernet", 0),
        ("172.32.0.1", V2, "eth0", "Ethernet", 0),
        ("172.15.255.255", V2, "eth0", "Ethernet", 0),
        ("100.128.0.1", V2, "eth0", "Ethernet", 0),
        ("11.0.0.1", V2, "eth0", "Ethernet", 0),
        ("169.254.0.1", V2, "eth0", "Ethernet", 0),
        ("fec0::1", V2, "eth0", "Ethernet", 0),
        ("8.8.8.8", V2, "cali1234", "Ethernet", 0),
        ("8.8.8.8", V2, "tunl01", "Ethernet", 0),
        ("10.1.2.3", "ROCE V2", "eth0", None, 2),
        # RoCE v1 and what is not known are not ranked.
        ("8.8.8.8", V1, "eth0", "Ethernet", None),
        ("8.8.8.8", None, "eth0", "Ethernet", None),
        ("8.8.8.8", V1, "eth0", None, None),
        # On InfiniBand and EFA neither type nor address makes a GID worse.
        ("fe80::1", V1, None, "InfiniBand", 1),
        ("fe80::1", V2, None, "InfiniBand", 1),
        ("fe80::1", None, "ib0", "InfiniBand", 0),
        ("fe80::1", V1, None, "Unknown", 1),
    ],
)
def test_mooncakes_rank(
    address: str, kind: str | None, interface: str | None, link_layer: str | None, rank: int | None
) -> None:
    assert rank_gid(address, kind, interface, link_layer) == rank


def _gid(index: int, address: str = "8.8.8.8", kind: str | None = V2, netdev: str | None = "eth0") -> Gid:
    return Gid(index, address, unread() if kind is None else read(kind), unread() if netdev is None else read(netdev))


def _port(*gids: Gid) -> RdmaPort:
    return make_port(gids=ranked(gids, "Ethernet"))


def test_the_lowest_rank_wins_and_then_the_lowest_index() -> None:
    port = _port(_gid(0, kind=V1), _gid(1, "fe80::1"), _gid(9), _gid(5), _gid(3, netdev=None))
    assert [(gid.index, gid.rank) for gid in port.gids] == [(0, 6), (1, 3), (3, 1), (5, 0), (9, 0)]
    best = best_gid(port)
    assert best is not None and best.index == 5


def test_the_last_resort_is_the_first_of_the_unranked() -> None:
    port = _port(_gid(2, kind=V1), _gid(1, kind=None), _gid(7, kind=V1))
    assert [(gid.index, gid.rank) for gid in port.gids] == [(1, LAST_RESORT), (2, None), (7, None)]
    assert port.gids[0].why_not == ""
    assert port.gids[1].why_not == "Mooncake takes IB/RoCE v1 only as the last resort, and then the first one."
    best = best_gid(port)
    assert best is not None and best.index == 1


def test_an_empty_table_has_no_best_gid() -> None:
    assert best_gid(_port()) is None


def test_a_sparse_table_of_a_pod() -> None:
    entries = {5: (FE80, V2, "net1"), 7: (mapped("10.56.1.9"), V2, "net1"), 250: (FE80, V1, "net1")}
    gids, length = _read(gid_table(entries, 256))
    assert length.value == 256
    assert [(gid.index, gid.address, gid.type.value, gid.netdev.value, gid.rank) for gid in gids] == [
        (5, "fe80::a00:27ff:fe00:1", V2, "net1", 3),
        (7, "10.56.1.9", V2, "net1", 2),
        (250, "fe80::a00:27ff:fe00:1", V1, "net1", 6),
    ]


def test_a_table_that_is_full_reads_the_same_as_its_entries() -> None:
    entries = {index: (mapped(f"10.0.0.{index + 1}"), V2, "eth0" if index % 2 else None) for index in range(64)}
    gids, _ = _read(gid_table(entries, 64))
    assert [(gid.index, gid.address, gid.rank) for gid in gids] == [
        (index, f"10.0.0.{index + 1}", 2 if index % 2 else 4) for index in range(64)
    ]
    assert gids[0].netdev == Reading(None, f"/{PLACE}/gid_attrs/ndevs/0", "does not exist")


@pytest.mark.parametrize("link_layer", ["InfiniBand", "Ethernet", "Unknown", None])
def test_zeros_and_a_bare_prefix_are_empty_entries(link_layer: str) -> None:
    gids, length = _read(
        gid_table({}, 2) | {"gids/2": SUBNET_ALONE, "gids/3": "::\n", "gids/4": "fe80::\n"}, link_layer
    )
    assert (gids, length.value) == ((), 5)


def test_an_entry_with_a_subnet_prefix_of_the_fabrics_own_is_empty_too() -> None:
    fabric = 0xFEC0_0000_0000_1234 << 64
    assert is_empty_gid(fabric, "InfiniBand")
    assert not is_empty_gid(fabric | 1, "InfiniBand")


def test_an_iwarp_gid_is_a_mac_address_and_zeros() -> None:
    gids, _ = _read(gid_table({0: ("0a00:2700:0001:0000:0000:0000:0000:0000\n", V1, None)}, 1))
    assert [gid.address for gid in gids] == ["a00:2700:1::"]


def test_attributes_of_empty_entries_are_not_asked() -> None:
    files = {f"{PLACE}/{key}": text for key, text in gid_table({3: (FE80, V2, "eth0")}).items()}
    files |= {f"{PLACE}/gid_attrs/{kind}/{index}": "x" for kind in ("types", "ndevs") for index in (0, 1, 2, 4)}
    asked: list[str] = []

    class Watched(FaultyTree):
        def read(self, place: str, limit: int) -> bytes:
            asked.append(place)
            return super().read(place, limit)

    gids, _ = read_gids(HostFiles(Watched(files, {})), PLACE, "Ethernet")
    assert [gid.index for gid in gids] == [3]
    assert sorted(place for place in asked if "gid_attrs" in place) == [
        f"{PLACE}/gid_attrs/ndevs/3",
        f"{PLACE}/gid_attrs/types/3",
    ]


def test_einval_for_an_attribute_is_its_reason() -> None:
    files = {f"{PLACE}/{key}": text for key, text in gid_table({0: (FE80, V2, "eth0")}).items()}
    tree = FaultyTree(files, {"ndevs/0": errno.EINVAL, "gids/1": errno.EACCES})
    gids, length = read_gids(HostFiles(tree), PLACE, "Ethernet")
    assert length.value == 8
    assert [(gid.index, gid.netdev.reason, gid.rank) for gid in gids] == [(0, "einval", 5)]


def test_no_table_is_not_an_empty_table() -> None:
    gids, length = _read({"state": "4: ACTIVE"})
    assert (gids, length) == ((), Reading(None, f"/{PLACE}/gids", "does not exist"))


def test_a_table_of_which_nothing_can_be_read_is_not_an_empty_one() -> None:
    files = {f"{PLACE}/gids/{index}": FE80 for index in range(4)}
    gids, length = read_gids(HostFiles(FaultyTree(files, {"": errno.EACCES})), PLACE, "Ethernet")
    assert (gids, length.known, length.reason) == ((), False, "eacces")


def test_names_that_are_no_index_are_no_entries() -> None:
    names = {f"gids/{name}": FE80 for name in ("x", "1x", "-1", "²", "9" * 40)}
    gids, length = _read({"gids/1": FE80, **names})
    assert ([gid.index for gid in gids], length.value) == ([1], 1)


_GIDS = st.one_of(
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.ip_addresses(v=4).map(lambda address: mapped(str(address))),
    st.sampled_from([SUBNET_ALONE, FE80, "", "not a gid", "::ffff:300.1.1.1", "fe80::1%eth0", "_" * 39]),
    st.text(),
)


@given(
    st.dictionaries(
        st.integers(0, 70),
        st.tuples(_GIDS, st.sampled_from([V1, V2, "", "garbage"]), st.none() | st.sampled_from(["eth0", "cni0", ""])),
        max_size=40,
    ),
    st.sampled_from(["Ethernet", "InfiniBand", "Unknown", "x", None]),
)
def test_every_gid_of_a_table_is_found_and_ranked(
    entries: dict[int, tuple[str, str, str | None]], link_layer: str | None
) -> None:
    gids, _ = _read({key: text for key, text in gid_table(entries, 71).items() if text[:3] != "-> "}, link_layer)
    found = {gid.index: gid for gid in gids}
    for index, (text, _, interface) in entries.items():
        try:
            value = int(ipaddress.IPv6Address(text.strip(" \t\r\n\v\f\0")))
        except ValueError:
            value = 0
        assert (index in found) == (not is_empty_gid(value, link_layer))
        if index in found:
            assert found[index].netdev.value == (interface or None)
    assert sum(gid.rank == LAST_RESORT for gid in gids) <= 1
    assert all((gid.rank is None) == bool(gid.why_not) for gid in gids)
    best = best_gid(make_port(gids=gids))
    assert (best is None) == (not gids)
    assert best is None or all(gid.rank is None or (best.rank, best.index) <= (gid.rank, gid.index) for gid in gids)
