from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.recipes.slurm_nodes import MOST_NODES, NODE, expand_nodes


@pytest.mark.parametrize(
    ("items", "names"),
    [
        (["a", "b"], ["a", "b"]),
        (["n[1-3]"], ["n1", "n2", "n3"]),
        (["n[08-10,2]x"], ["n08", "n09", "n10", "n2x"]),
        (["r[1-2]n[1-2]"], ["r1n1", "r1n2", "r2n1", "r2n2"]),
    ],
)
def test_ranges(items: list[str], names: list[str]) -> None:
    assert all(NODE.fullmatch(item) for item in items)
    expected = [name if name.endswith("x") or "x" not in items[0] else name + "x" for name in names]
    assert list(expand_nodes("nodes", items)) == expected


@pytest.mark.parametrize("item", ["n[3-1]", "n[1-]", "n[,]", "n[1-1000000]", "n[1-99][1-99]", "n[1,1]"])
def test_what_cannot_be_expanded(item: str) -> None:
    assert NODE.fullmatch(item)
    with pytest.raises(ConfigError) as caught:
        expand_nodes("nodes", [item])
    assert caught.value.field == "nodes"


def test_a_node_is_named_once() -> None:
    with pytest.raises(ConfigError, match="named twice"):
        expand_nodes("nodes", ["n[1-2]", "n2"])


def test_as_many_nodes_as_are_allowed() -> None:
    assert len(expand_nodes("nodes", [f"n[1-{MOST_NODES}]"])) == MOST_NODES


@pytest.mark.parametrize("item", ["-n", "a b", "a;b", "$(a)", "n[a]", "n[1", "", "[1-2]", "a\n"])
def test_what_is_no_name(item: str) -> None:
    assert not NODE.fullmatch(item)
