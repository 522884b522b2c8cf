"""What was computed before and may be used again: a tree of prefixes, and the pages that hold their KV.

`PrefixTree` knows keys and values alone: a path of keys is a prefix, and what was used longest ago goes first.
`PrefixCache` keeps staging pages in one: a key is a page's token ids, a value the page. Only whole pages are kept,
and only those whose content is complete. Pure: no tensors, no clock; `prefill_core` is the cache's caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .errors import LocalProtocolError
from .pages import Owner, PagePool, Run, Runs

__all__ = ["Claim", "Node", "PrefixCache", "PrefixTree", "page_keys"]

V = TypeVar("V")

# The hit rate is that of the last so many prompts, so that it follows a change of the load.
_RATED_PROMPTS = 256


def page_keys(tokens: Sequence[int], page_size: int) -> Iterator[tuple[int, ...]]:
    """Yields the token ids of each whole page.

    Whatever else changes the KV (an adapter, a tenant's salt) belongs into the first key, which tells the whole path
    apart.
    """
    for start in range(0, len(tokens) - page_size + 1, page_size):
        yield tuple(tokens[start : start + page_size])


@dataclass(slots=True, eq=False)
class Node(Generic[V]):
    """The end of one prefix.

    Attributes:
        key: what follows the parent's prefix.
        parent: None for the first key of a path.
        locks: how many hold this prefix; it is not evicted while there are any.
    """

    key: Hashable
    parent: Node[V] | None
    value: V
    children: dict[Hashable, Node[V]] = field(default_factory=dict)
    locks: int = 0


class PrefixTree(Generic[V]):
    """Prefixes with a value at each step, and the order in which they were last used.

    A lock holds a whole path from its first key on. The unlocked nodes stand in one queue, where a node always comes
    behind those below it: its oldest member is a leaf.
    """

    def __init__(self) -> None:
        self._children: dict[Hashable, Node[V]] = {}
        self._unlocked: dict[Node[V], None] = {}  # in order of use, the oldest first
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def unlocked(self) -> int:
        """Nodes that can be evicted, in the order of the evictions."""
        return len(self._unlocked)

    def match(self, keys: Iterable[Hashable]) -> tuple[Node[V], ...]:
        """Returns the path of the longest known prefix of `keys`, which counts as used now."""
        path: list[Node[V]] = []
        children = self._children
        for key in keys:
            node = children.get(key)
            if node is None:
                break
            path.append(node)
            children = node.children
        self._touch(path)
        return tuple(path)

    def insert(self, keys: Iterable[Hashable], make: Callable[[int], V]) -> tuple[Node[V], ...]:
        """Makes sure that the whole prefix is known; it counts as used now.

        Args:
            make: called with the index of each key that is new here, in order; returns its value.

        Returns:
            the path of all keys, known and new.
        """
        path: list[Node[V]] = []
        children = self._children
        for index, key in enumerate(keys):
            node = children.get(key)
            if node is None:
                node = children[key] = Node(key, path[-1] if path else None, make(index))
                self._unlocked[node] = None
                self._size += 1
            path.append(node)
            children = node.children
        self._touch(path)
        return tuple(path)

    def lock(self, path: Sequence[Node[V]]) -> None:
        """Keeps a path from eviction, once more if it is locked already.

        Args:
            path: from the first key on, as `match` and `insert` return it.
        """
        for node in path:
            node.locks += 1
            self._unlocked.pop(node, None)

    def unlock(self, path: Sequence[Node[V]]) -> None:
        """Takes one lock back; what nobody else locks counts as used now.

        Raises:
            LocalProtocolError: the path is not locked.
        """
        if any(node.locks < 1 for node in path):
            raise LocalProtocolError("A prefix was unlocked more often than locked.")
        for node in reversed(path):
            node.locks -= 1
            if not node.locks:
                self._unlocked[node] = None

    def evict(self) -> Node[V] | None:
        """Forgets the unlocked leaf that was used longest ago and returns it; None when everything is locked."""
        node = next(iter(self._unlocked), None)
        if node is None:
            return None
        del self._unlocked[node]
        siblings = self._children if node.parent is None else node.parent.children
        del siblings[node.key]
        self._size -= 1
        return node

    def clear(self) -> None:
        """Forgets everything, the locked too; whoever holds a path of before must not unlock it any more."""
        self._children = {}
        self._unlocked = {}
        self._size = 0

    def __iter__(self) -> Iterator[Node[V]]:
        """Yields every node, parents first."""
        waiting = [*self._children.values()]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.children.values())

    def _touch(self, path: Sequence[Node[V]]) -> None:
        for node in reversed(path):
            if not node.locks:
                self._unlocked.pop(node, None)
                self._unlocked[node] = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request got.

    Attributes:
        runs: its staging pages, in the order of its tokens.
        cached: how many of them, the first ones, stand complete already.
    """

    runs: Runs
    cached: int


class PrefixCache:
    """Staging pages that are kept for later prompts, and the way to staging pages for those who need some.

    Who owns a page of the pool here:

        the request alone               it computes the page, or computed one that the cache has from elsewhere
        the request and the prefix      a hit: the page is read by the request's copy and writes, and not evicted
        the prefix alone                the page waits for a hit, or for its eviction when the pool runs short
        the request alone, once more    after a flush, until its writes are over

    Args:
        pool: the staging pages of this worker.
        page_size: tokens per page.
        enabled: False gives pages out and keeps none.

    Attributes:
        hit_rate: share of the last prompts' tokens that were found here, 0 to 1.
    """

    def __init__(self, pool: PagePool, page_size: int, *, enabled: bool = True) -> None:
        self.hit_rate = 0.0
        self._pool = pool
        self._page_size = page_size
        self._enabled = enabled
        self._tree: PrefixTree[int] = PrefixTree()
        self._paths: dict[Owner, tuple[Node[int], ...]] = {}  # of the claims since the last flush
        self._rated: deque[tuple[int, int]] = deque(maxlen=_RATED_PROMPTS)  # (cached tokens, tokens) of a prompt

    @property
    def pages(self) -> int:
        """Pages that the cache keeps."""
        return len(self._tree)

    @property
    def unused(self) -> int:
        """Pages that the cache keeps and no request uses: what can be evicted."""
        return self._tree.unlocked

    @property
    def owners(self) -> frozenset[Owner]:
        """The claims of the cache itself, one a page."""
        return frozenset(Owner.prefix(node.value) for node in self._tree)

    def claim(self, owner: Owner, tokens: Sequence[int], reusable: int) -> Claim | None:
        """Gives a request its pages: those of the longest known prefix, and fresh ones for the rest.

        What no request uses is evicted before anybody waits, and only when that is enough.

        Args:
            owner: the request, which holds all pages of the claim until `release`.
            tokens: what its pages are to hold.
            reusable: of these, how many may come from earlier prompts; fewer than all, since the last token is
                computed in any case: it brings the next one.

        Returns:
            the pages, or None, and nothing given, when there are too few.
        """
        path = self._tree.match(page_keys(tokens[:reusable], self._page_size)) if self._enabled else ()
        self._tree.lock(path)
        missing = -(-len(tokens) // self._page_size) - len(path)
        if self._pool.free + self._tree.unlocked < missing:
            self._tree.unlock(path)
            return None
        while self._pool.free < missing:
            node = self._tree.evict()
            assert node is not None
            self._pool.release((Run(node.value, 1),), Owner.prefix(node.value))
        fresh = self._pool.alloc(missing, owner)
        assert fresh is not None
        cached = _runs(node.value for node in path)
        self._pool.share(cached, owner)
        self._paths[owner] = path
        self._rate(len(path) * self._page_size, len(tokens))
        return Claim((*cached, *fresh), len(path))

    def _rate(self, cached: int, tokens: int) -> None:
        self._rated.append((cached, tokens))
        self.hit_rate = sum(c for c, _ in self._rated) / sum(t for _, t in self._rated)

    def release(self, owner: Owner, runs: Runs, complete: Sequence[int] = ()) -> None:
        """Takes a claim's pages back; those whose content is complete are kept for later prompts.

        What the cache has already is not kept twice, and nothing is kept of a claim from before a flush.

        Args:
            owner: the request; nothing of it reads or writes the pages any more.
            runs: the claim's pages.
            complete: the tokens whose KV stands in them; a last page that is not full is left out.
        """
        pages = [page for run in runs for page in range(run.start, run.stop)]

        def keep(index: int) -> int:
            self._pool.share((Run(pages[index], 1),), Owner.prefix(pages[index]))
            return pages[index]

        path = self._paths.pop(owner, None)
        if path is not None:
            if self._enabled:
                self._tree.insert(page_keys(complete, self._page_size), keep)
            self._tree.unlock(path)
        self._pool.release(runs, owner)

    def flush(self) -> None:
        """Forgets every prefix; pages that requests use return with their release."""
        for node in self._tree:
            self._pool.release((Run(node.value, 1),), Owner.prefix(node.value))
        self._tree.clear()
        self._paths.clear()

    def check(self) -> None:
        """Raises LocalProtocolError unless every kept page is one that the pool knows as the cache's."""
        pages = [node.value for node in self._tree]
        if len(pages) != len(set(pages)) or not all(self._pool.owns(Owner.prefix(page)) for page in pages):
            raise LocalProtocolError("The prefix cache and the page pool do not agree on the pages that are kept.")


def _runs(pages: Iterable[int]) -> Runs:
    """Returns the pages, in their order, as runs."""
    runs: list[Run] = []
    for page in pages:
        if runs and runs[-1].stop == page:
            runs[-1] = Run(runs[-1].start, runs[-1].count + 1)
        else:
            runs.append(Run(page, 1))
    return tuple(runs)
