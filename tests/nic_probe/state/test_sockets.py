"""Listening ports and TIME_WAIT, from tables as the kernel writes them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.sockets import Listener, probe_listeners, probe_time_wait

_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
_ROWS = """   0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 00000000:2326 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100007F:D3F2 0100007F:094B 06 00000000:00000000 03:00000000 00000000     0        0 3
   3: 0100007F:D3F4 0100007F:094B 01 00000000:00000000 03:00000000 00000000     0        0 4
"""
_SIX = """   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 00000000000000000000000001000000:094C 00000000000000000000000000000000:0000 0A 00000000:00000000
   2: 0000000000000000FFFF00000200000A:2326 00000000000000000000000000000000:0000 0A 00000000:00000000
"""


def _files(**texts: str) -> HostFiles:
    return HostFiles(MemoryTree({f"proc/net/{name}": text.encode() for name, text in texts.items()}))


def test_who_listens_in_both_families() -> None:
    listeners = probe_listeners(_files(tcp=_HEADER + _ROWS, tcp6=_HEADER + _SIX)).otherwise(())
    assert listeners == (
        Listener("::", 22),
        Listener("127.0.0.1", 2379),
        Listener("::1", 2380),
        Listener("0.0.0.0", 8998),
        Listener("10.0.0.2", 8998),
    )
    assert [listener.loopback for listener in listeners] == [False, True, True, False, False]


def test_a_kernel_without_ipv6_has_one_table() -> None:
    assert len(probe_listeners(_files(tcp=_HEADER + _ROWS)).otherwise(())) == 2
    assert probe_listeners(_files(tcp=_HEADER)).value == ()
    assert probe_listeners(_files()).value is None


def test_the_count_of_the_kernel_comes_before_counting_rows() -> None:
    stat = "sockets: used 20\nTCP: inuse 5 orphan 0 tw 1234 alloc 8 mem 1\nUDP: inuse 0 mem 0\n"
    assert probe_time_wait(_files(tcp=_HEADER + _ROWS, sockstat=stat)).value == 1234
    assert probe_time_wait(_files(tcp=_HEADER + _ROWS, sockstat="sockets: used 20")).value == 1
    assert probe_time_wait(_files()).value is None


@given(st.text(max_size=50), st.text(max_size=50))
def test_no_table_raises(row: str, stat: str) -> None:
    files = _files(tcp=f"{_HEADER}{row}\n 0: {row} 0 0A {row}", sockstat=f"TCP: tw {stat}")
    assert probe_listeners(files).value is not None
    assert probe_time_wait(files).known
