from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.nics.counter_files import ALIASES, CounterFile, CounterSources, counter_sources, port_counters
from pdpanel.nic_probe.nics.device import PortCounters
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import FaultyTree, memory_tree

PORT = "sys/class/infiniband/x/ports/1"
WORDS = {"counters/port_xmit_data": "10\n", "counters/port_rcv_data": "20\n"}
NETDEV = {
    "sys/class/net/eth0/statistics/tx_bytes": "1000\n",
    "sys/class/net/eth0/statistics/rx_bytes": "2000\n",
    "sys/class/net/eth0/type": "1\n",
}


def _files(port: Mapping[str, str], host: Mapping[str, str] | None = None) -> HostFiles:
    return HostFiles(memory_tree({f"{PORT}/{key}": text for key, text in port.items()} | dict(host or {})))


def _sources(port: Mapping[str, str], host: Mapping[str, str] | None = None) -> CounterSources:
    return counter_sources(_files(port, host), "x", 1, ("eth0",))


def _now(port: Mapping[str, str], host: Mapping[str, str] | None = None) -> PortCounters:
    return port_counters(_files(port, host), "x", 1, ("eth0",))


def test_words_are_four_bytes() -> None:
    sources = _sources(WORDS)
    assert sources.kind == "port counters"
    assert sources.tx == (CounterFile(f"{PORT}/counters/port_xmit_data", 4),)
    assert sources.rx == (CounterFile(f"{PORT}/counters/port_rcv_data", 4),)
    assert (sources.others, sources.reason) == ({}, "")
    now = _now(WORDS)
    assert (now.tx_bytes.value, now.rx_bytes.value, now.source) == (40, 80, "port counters")
    assert now.tx_bytes.source == f"/{PORT}/counters/port_xmit_data"


def test_everything_else_is_raw() -> None:
    others = {"counters/port_xmit_packets": "7", "counters/symbol_error": "0", "counters/port_xmit_wait": "9"}
    now = _now(WORDS | others)
    assert now.others == {"port_xmit_packets": 7, "symbol_error": 0, "port_xmit_wait": 9}


def test_old_kernels_keep_the_64_bit_counters_apart() -> None:
    extended = {"counters_ext/port_xmit_data_64": "5000000000", "counters_ext/port_rcv_data_64": "6000000000"}
    now = _now(WORDS | extended | {"counters_ext/port_unicast_xmit_packets_64": "3"})
    assert (now.tx_bytes.value, now.rx_bytes.value) == (20_000_000_000, 24_000_000_000)
    assert now.others == {"port_unicast_xmit_packets_64": 3}


@pytest.mark.parametrize(
    ("names", "label"),
    [
        ({"tx_bytes": "1", "rx_bytes": "2", "send_bytes": "1", "rdma_read_bytes": "0"}, "hw_counters (efa)"),
        ({"tx_bytes": "1", "rx_bytes": "2", "rx_roce_errors": "0"}, "hw_counters (bnxt_re)"),
        ({"tx_bytes": "1", "rx_bytes": "2"}, "hw_counters"),
        ({"tx_bytes_cnt": "1", "rx_bytes_cnt": "2"}, "hw_counters (erdma)"),
        ({"hw_tx_bytes_cnt": "1", "hw_rx_bytes_cnt": "2"}, "hw_counters (erdma)"),
        ({"tx_rdma_ucast_bytes": "1", "rx_rdma_ucast_bytes": "2"}, "hw_counters (ionic)"),
        ({"ip4OutOctets": "1", "ip4InOctets": "2"}, "hw_counters (irdma)"),
        ({"ip4OutOctets": "0", "ip6OutOctets": "1", "ip4InOctets": "2", "ip6InOctets": "0"}, "hw_counters (irdma)"),
        ({"sent_bytes": "1", "rcvd_bytes": "2"}, "hw_counters (rxe)"),
    ],
)
def test_vendor_counters_by_alias(names: dict[str, str], label: str) -> None:
    files = {f"hw_counters/{name}": text for name, text in names.items()} | {"hw_counters/lifespan": "12"}
    sources = _sources(files, NETDEV)
    assert sources.kind == label
    assert all(file.factor == 1 for file in (*sources.tx, *sources.rx))
    now = _now(files, NETDEV)
    assert (now.tx_bytes.value, now.rx_bytes.value, now.source) == (1, 2, label)


def test_every_alias_can_be_met() -> None:
    for alias in ALIASES:
        names = (*alias.tx, *alias.rx, *alias.beside[:1])
        assert _sources({f"hw_counters/{name}": "1" for name in names}).kind.removeprefix("hw_counters").strip(
            " ()"
        ) == (alias.label)


def test_the_cache_time_of_vendor_counters_is_no_counter_to_plot() -> None:
    files = WORDS | {"hw_counters/lifespan": "10", "hw_counters/out_of_sequence": "1"}
    sources = _sources(files)
    assert sources.others == {"out_of_sequence": f"{PORT}/hw_counters/out_of_sequence"}
    assert sources.cached_ms.value == 10
    assert _now(files).others == {"out_of_sequence": 1, "lifespan": 10}


def test_the_port_comes_before_vendor_and_interface() -> None:
    vendor = {"hw_counters/tx_bytes_cnt": "1", "hw_counters/rx_bytes_cnt": "2"}
    assert _sources(WORDS | vendor, NETDEV).kind == "port counters"
    assert _sources(vendor, NETDEV).kind == "hw_counters (erdma)"
    assert _sources({}, NETDEV).kind == "netdev eth0 (includes non-RDMA)"


@pytest.mark.parametrize("text", ["N/A (no PMA)", "", "much", "-5", "1.5", "٣", "1_0", "9" * 30, "0x10"])
def test_what_is_no_count_is_no_counter(text: str) -> None:
    sources = _sources(WORDS | {"counters/port_rcv_data": text, "counters/symbol_error": text}, NETDEV)
    assert (sources.kind, sources.others) == ("netdev eth0 (includes non-RDMA)", {})


def test_the_interface_counts_as_a_last_resort() -> None:
    sources = _sources({}, NETDEV)
    assert sources.tx == (CounterFile("sys/class/net/eth0/statistics/tx_bytes", 1),)
    assert sources.rx == (CounterFile("sys/class/net/eth0/statistics/rx_bytes", 1),)
    assert (_now({}, NETDEV).tx_bytes.value, _now({}, NETDEV).rx_bytes.value) == (1000, 2000)


def test_ip_over_infiniband_counts_nothing_of_rdma() -> None:
    sources = _sources({}, NETDEV | {"sys/class/net/eth0/type": "32\n"})
    assert (sources.kind, sources.reason) == ("", "neither the port nor its interface counts bytes")


def test_a_port_that_counts_nothing_says_so() -> None:
    now = _now({"state": "4: ACTIVE"})
    assert now.tx_bytes == Reading(None, "counters", "neither the port nor its interface counts bytes")
    assert (now.rx_bytes.known, now.source, now.others) == (False, "", {})


@pytest.mark.parametrize("folder", ["counters/port_{}_data", "counters_ext/port_{}_data_64"])
def test_a_saturated_32_bit_counter_is_no_value(folder: str) -> None:
    now = _now({folder.format("xmit"): str(0xFFFF_FFFF), folder.format("rcv"): "3"})
    assert now.tx_bytes.reason == "stands at the most that 32 bits hold: it no longer counts"
    assert now.rx_bytes.value == 12


def test_a_byte_counter_at_the_same_number_is_a_value() -> None:
    assert _now({}, NETDEV | {"sys/class/net/eth0/statistics/tx_bytes": str(0xFFFF_FFFF)}).tx_bytes.value == 0xFFFF_FFFF


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.EOPNOTSUPP])
def test_a_refusal_of_one_file_hides_no_other(number: int) -> None:
    files = {f"{PORT}/{key}": text for key, text in (WORDS | {"counters/a": "1", "counters/b": "2"}).items()}
    tree = FaultyTree(files, {"counters/a": number})
    now = port_counters(HostFiles(tree), "x", 1, ())
    assert (now.tx_bytes.value, now.others) == (40, {"b": 2})


@given(st.dictionaries(st.sampled_from([*WORDS, "hw_counters/lifespan", "hw_counters/tx_bytes"]), st.text(max_size=30)))
def test_garbage_never_raises(port: dict[str, str]) -> None:
    now = _now(port, {"sys/class/net/eth0/statistics/tx_bytes": "".join(port.values())})
    assert all(value >= 0 for value in now.others.values())


def test_the_capture_of_three_drivers(capture: Callable[[str], Path]) -> None:
    files = HostFiles(capture("procfs-sysfs/fixtures.ttar"))
    known = {
        ("hfi1_0", 1): (1_380_366_808_104, 1_094_233_306_172),
        ("mlx4_0", 1): (8_884_894_436, 106_036_453_180),
        ("mlx4_0", 2): (9_841_747_136, 106_161_427_560),
        ("mlx5_0", 1): (72_505_381_512, 11_523_046_035_392),
    }
    for (device, port), (received, sent) in known.items():
        now = port_counters(files, device, port, ())
        assert (now.rx_bytes.value, now.tx_bytes.value, now.source) == (received, sent, "port counters")
    others = port_counters(files, "mlx5_0", 1, ()).others
    expected = {
        "lifespan": 10,
        "local_ack_timeout_err": 131,
        "out_of_sequence": 1,
        "roce_adp_retrans": 99,
        "rx_read_requests": 175_528_982,
        "rx_write_requests": 742_114,
    }
    assert {name: others[name] for name in expected} == expected
