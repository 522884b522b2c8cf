"""Which worker has seen which beginnings of prompts: a radix tree over bytes, for the policy cache_aware.

It only guesses what is in a worker's prefix cache, from what was sent there; an upper bound per worker keeps it small.
Pure; not the engine's own prefix cache, which holds pages of whole tokens.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

__all__ = ["PrefixTree"]


@dataclass(slots=True, eq=False)
class _Node:
    """A run of bytes behind its parent's.

    Attributes:
        owners: worker -> when it was last sent a prompt through here; those of a child are owners of its parent.
    """

    edge: bytes
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)


def _common(first: bytes, second: bytes) -> int:
    """Returns the length of the common beginning."""
    most = min(len(first), len(second))
    if first[:most] == second[:most]:
        return most
    low, high = 0, most
    while high - low > 1:  # first[:low] is common, first[:high] is not
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


class PrefixTree:
    """Beginnings of prompts by worker."""

    def __init__(self) -> None:
        self._root = _Node(b"", None)
        self._sizes: dict[str, int] = {}
        self._tick = 0

    def size(self, owner: str) -> int:
        """Returns the bytes remembered for `owner`."""
        return self._sizes.get(owner, 0)

    def match(self, prompt: bytes, among: Collection[str]) -> tuple[int, list[str]]:
        """Returns the longest beginning of `prompt` that one of `among` has seen, in bytes, and all who have."""
        node, at, best = self._root, 0, (0, list[str]())
        while at < len(prompt) and (child := node.children.get(prompt[at])) is not None:
            owners = [owner for owner in among if owner in child.owners]
            if not owners:
                break
            length = _common(child.edge, prompt[at : at + len(child.edge)])
            at += length
            best = (at, owners)
            if length < len(child.edge):
                break
            node = child
        return best

    def insert(self, prompt: bytes, owner: str) -> None:
        """Remembers that `owner` was sent `prompt`."""
        self._tick += 1
        node, at = self._root, 0
        while at < len(prompt):
            child = node.children.get(prompt[at])
            if child is None:
                child = _Node(prompt[at:], node)
                node.children[prompt[at]] = child
            else:
                length = _common(child.edge, prompt[at : at + len(child.edge)])
                if length < len(child.edge):
                    child = self._split(child, length)
            self._own(child, owner)
            at += len(child.edge)
            node = child

    def _split(self, node: _Node, length: int) -> _Node:
        """Cuts `node` after `length` bytes; returns the first part."""
        assert node.parent is not None
        first = _Node(node.edge[:length], node.parent, {node.edge[length]: node}, dict(node.owners))
        node.parent.children[node.edge[0]] = first
        node.edge, node.parent = node.edge[length:], first
        return first

    def _own(self, node: _Node, owner: str) -> None:
        if owner not in node.owners:
            self._sizes[owner] = self.size(owner) + len(node.edge)
        node.owners[owner] = self._tick

    def evict(self, most: int) -> None:
        """Forgets the longest unused ends of prompts, until no worker has more than `most` bytes."""
        for owner in [owner for owner, size in self._sizes.items() if size > most]:
            order = count()
            ends = [(n.owners[owner], next(order), n) for n in self._nodes_of(owner) if not self._goes_on(n, owner)]
            heapify(ends)
            while ends and self._sizes[owner] > most:
                node = heappop(ends)[2]
                parent = node.parent
                self._disown(node, owner)
                if parent is not None and parent.parent is not None and not self._goes_on(parent, owner):
                    heappush(ends, (parent.owners[owner], next(order), parent))

    def forget(self, owner: str) -> None:
        """Forgets everything of a worker that is gone."""
        for node in reversed(self._nodes_of(owner)):
            self._disown(node, owner)
        self._sizes.pop(owner, None)

    def _disown(self, node: _Node, owner: str) -> None:
        del node.owners[owner]
        self._sizes[owner] -= len(node.edge)
        if not node.owners and node.parent is not None:
            del node.parent.children[node.edge[0]]

    def _goes_on(self, node: _Node, owner: str) -> bool:
        return any(owner in child.owners for child in node.children.values())

    def _nodes_of(self, owner: str) -> list[_Node]:
        """Returns its nodes, parents before children."""
        found: list[_Node] = []
        waiting = list(self._root.children.values())
        while waiting:
            node = waiting.pop()
            if owner in node.owners:
                found.append(node)
                waiting.extend(node.children.values())
        return found
