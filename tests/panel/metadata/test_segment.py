from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.metadata.segment import Entry, SegmentBuffer, SegmentDevice, keys_of_label, segments_of

# As the wheel 0.3.13 wrote them into an etcd.
RAM = (
    b'{"buffers":[{"addr":139626417217552,"length":8388608,"name":"127.0.0.1:17002"},{"addr":139627917725712,'
    b'"length":1048576,"name":"127.0.0.1:17002"}],"name":"127.0.0.1:17002","protocol":"tcp","rdma_server_name":"",'
    b'"tcp_data_host":"127.0.0.1","tcp_data_port":16801,"tcp_proto_version":2,'
    b'"timestamp":"2026-11-21 08:45:26.932123"}\n'
)
RPC = b'{"ip_or_host_name":"127.0.0.1","rpc_port":15609}\n'


def one(key: str, document: Any) -> Any:
    (segment,) = segments_of([Entry(key, json.dumps(document).encode())])
    return segment


def test_the_two_entries_of_an_engine_are_one_segment() -> None:
    entries = (Entry("mooncake/ram/127.0.0.1:17002", RAM, 4), Entry("mooncake/rpc_meta/127.0.0.1:17002", RPC, 2))
    (segment,) = segments_of(entries)
    assert (segment.label, segment.protocol) == ("127.0.0.1:17002", "tcp")
    assert (segment.host, segment.rpc_port) == ("127.0.0.1", 15609)
    assert segment.buffers[1] == SegmentBuffer("127.0.0.1:17002", 139627917725712, 1048576)
    assert segment.total_bytes == 9437184
    assert segment.timestamp == "2026-11-21 08:45:26.932123"
    assert segment.entries == entries
    assert segment.problems == ()


def test_an_rdma_segment_has_devices_and_cxl_buffers_have_offsets() -> None:
    document = {
        "protocol": ["rdma", "cxl"],
        "devices": [{"name": "mlx5_0", "lid": 7, "gid": "fe80::1"}],
        "buffers": [{"name": "cxl", "offset": 64, "length": 128}],
    }
    segment = one("mooncake/ram/a", document)
    assert segment.protocol == "rdma,cxl"
    assert segment.devices == (SegmentDevice("mlx5_0", "fe80::1", 7),)
    assert segment.buffers == (SegmentBuffer("cxl", 64, 128),)


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("mooncake/ram/a:1", "a:1"),
        ("mooncake/rpc_meta/a:1", "a:1"),
        ("mooncake/blue/ram/a:1", "blue/a:1"),
        ("mooncake/blue/rpc_meta/a:1", "blue/a:1"),
        ("mooncake/blue/green/ram/a:1", "blue/green/a:1"),
        ("mooncake/nvmeof/a:1", "mooncake/nvmeof/a:1"),
        ("mooncake/a:1", "mooncake/a:1"),
        ("mooncake/", "mooncake/"),
    ],
)
def test_a_key_says_its_cluster_and_name_and_the_name_its_keys(key: str, label: str) -> None:
    (segment,) = segments_of([Entry(key, b"{}")])
    assert segment.label == label
    assert key in keys_of_label(label)


def test_clusters_keep_their_segments_apart() -> None:
    keys = ("mooncake/ram/a", "mooncake/x/ram/a", "mooncake/rpc_meta/a", "mooncake/a")
    found = segments_of(Entry(key, b"{}") for key in keys)
    assert [(segment.label, len(segment.entries)) for segment in found] == [
        ("a", 2),
        ("mooncake/a", 1),
        ("x/a", 1),
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"", "0 bytes that are no JSON object"),
        (b"[1]", "no JSON object"),
        (b"\xff\xfe", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b'{"buffers": 3}', "buffers is no list"),
        (b'{"buffers": [3]}', "buffers is no list"),
        (b'{"devices": {"a": 1}}', "devices is no list"),
    ],
)
def test_garbage_is_a_problem_of_its_segment_alone(value: bytes, problem: str) -> None:
    bad, good = segments_of([Entry("mooncake/ram/a", value), Entry("mooncake/ram/b", RAM)])
    assert problem in bad.problems[0]
    assert good.problems == () and good.protocol == "tcp"


@pytest.mark.parametrize("port", [0, -1, 65536, "1", 1.5, True, 10**30, None])
def test_a_port_that_is_none_is_not_connected_to(port: Any) -> None:
    segment = one("mooncake/rpc_meta/a", {"ip_or_host_name": "h", "rpc_port": port})
    assert segment.rpc_port == 0
    assert bool(segment.problems) is (port is not None)


def test_an_entry_that_was_not_read_says_why() -> None:
    (segment,) = segments_of([Entry("mooncake/ram/a", None, 0, "the server answers with more than 9 bytes")])
    assert segment.problems == ("mooncake/ram/a: the server answers with more than 9 bytes",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
FIELDS = ["protocol", "devices", "buffers", "timestamp", "ip_or_host_name", "rpc_port", "name", "addr", "length"]
DOCUMENTS = st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON)))


VALUES = st.binary() | DOCUMENTS.map(lambda document: json.dumps(document).encode())
ENTRIES = st.builds(Entry, st.text().map("mooncake/".__add__), VALUES)


@given(st.lists(ENTRIES, max_size=4))
def test_whatever_stands_there_is_segments(entries: list[Entry]) -> None:
    found = segments_of(entries)
    assert sorted(entry.key for segment in found for entry in segment.entries) == sorted(e.key for e in entries)
    assert len({segment.label for segment in found}) == len(found)
    for segment in found:
        assert segment.total_bytes >= 0
        assert 0 <= segment.rpc_port < 65536


NAMES = st.text(st.characters(exclude_characters="/"), min_size=1)


@given(st.sampled_from(["ram/", "rpc_meta/"]), st.none() | NAMES, NAMES)
def test_a_segments_keys_are_found_by_its_label(folder: str, cluster: str | None, name: str) -> None:
    key = f"mooncake/{f'{cluster}/' if cluster else ''}{folder}{name}"
    (segment,) = segments_of([Entry(key, b"{}")])
    assert segment.label == (f"{cluster}/{name}" if cluster else name)
    assert key in keys_of_label(segment.label)
