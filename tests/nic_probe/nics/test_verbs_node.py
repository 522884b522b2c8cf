from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.nics.verbs_node import VerbsNode, VerbsNodes
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import LiveTree, memory_tree, uverbs

NODE = "/dev/infiniband/uverbs0"


class _Factual(HostFiles):
    """Files of a capture whose facts a test makes up, of whatever kind."""

    def __init__(self, files: Mapping[str, str], facts: Mapping[str, Any]) -> None:
        super().__init__(memory_tree(files))
        self._given = facts

    def facts(self) -> Mapping[str, Any]:
        return self._given


def _node(facts: Mapping[str, Any], files: Mapping[str, str] | None = None) -> VerbsNode:
    return VerbsNodes(_Factual(uverbs(0, "mlx5_0") if files is None else files, facts)).of("mlx5_0")


def _with(**node: Any) -> VerbsNode:
    return _node({"devices": {NODE: node}})


def test_a_node_that_the_user_may_open() -> None:
    node = _with(kind="character", readable=True, writable=True)
    assert (node.node.value, node.accessible, node.remedy) == (NODE, True, "")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"kind": "character", "readable": True, "writable": False}, "gives this user no permission to write it"),
        (
            {"kind": "character", "readable": False, "writable": False},
            "gives this user no permission to read or write it",
        ),
        ({"kind": "absent"}, "does not exist here, although the kernel lists the device"),
        ({"kind": "file", "readable": True, "writable": True}, "is no character device but file"),
    ],
)
def test_a_node_that_the_user_may_not_open(facts: Mapping[str, Any], reason: str) -> None:
    node = _with(**facts)
    assert (node.node.value, node.node.source, node.node.reason, node.accessible) == (None, NODE, reason, False)
    assert node.remedy


def test_a_node_that_is_not_among_the_devices_is_not_there() -> None:
    node = _node({"devices": {"/dev/infiniband/rdma_cm": {"kind": "absent"}}})
    assert node.accessible is False
    assert node.remedy == "start the container with --device=/dev/infiniband"


def test_a_capture_without_facts_does_not_say() -> None:
    node = _node({})
    assert (node.accessible, node.node.reason) == (None, "the capture does not say whether it can be opened")


@pytest.mark.parametrize("facts", [{"kind": "character"}, {"readable": True}, {"readable": "yes", "writable": 1}])
def test_half_a_fact_does_not_say_either(facts: Mapping[str, Any]) -> None:
    assert _with(**facts).accessible is None


def test_a_device_that_the_verbs_module_does_not_serve() -> None:
    node = _node({}, uverbs(0, "mlx5_7"))
    assert (node.accessible, node.remedy) == (False, "run modprobe ib_uverbs")


def test_a_capture_without_verbs_does_not_say() -> None:
    node = _node({}, {"sys/class/net/lo/mtu": "1"})
    assert (node.accessible, node.node.reason) == (None, "is not in the capture")


def test_a_live_host_without_verbs_does_say(tmp_path: Path) -> None:
    assert VerbsNodes(HostFiles(LiveTree(tmp_path))).of("mlx5_0").accessible is False


def test_numbers_of_nodes_are_not_those_of_devices() -> None:
    files = HostFiles(memory_tree({**uverbs(7, "mlx5_0"), **uverbs(0, "mlx5_1")}))
    nodes = VerbsNodes(files)
    assert [nodes.of(name).node.source for name in ("mlx5_0", "mlx5_1")] == ["/dev/infiniband/uverbs7", NODE]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(_JSON)
def test_facts_of_any_kind_are_no_error(fact: object) -> None:
    assert _node({"devices": fact}).accessible is not True
    assert _node({"devices": {NODE: fact}}).accessible is not True
    assert _with(kind=fact, readable=fact, writable=fact).node.source == NODE
