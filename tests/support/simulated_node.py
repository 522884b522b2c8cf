"""A GPU node as kernel files, for tests: what the package grows for its simulated hosts."""

from __future__ import annotations

from pdpanel.panel.simulate.node import Node, grow_node, write_tree

__all__ = ["Node", "grow_node", "write_tree"]
