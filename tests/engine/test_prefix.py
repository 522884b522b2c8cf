"""The prefix tree against plain dicts, and the cache's pages to the last one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pdpanel.engine.errors import LocalProtocolError
from pdpanel.engine.pages import Owner, PagePool, Run, Runs
from pdpanel.engine.prefix import Claim, PrefixCache, PrefixTree, page_keys

PAGE, PAGES = 2, 12
KEYS = st.lists(st.integers(0, 2), max_size=6)


class TreeMachine(RuleBasedStateMachine):
    """`PrefixTree` beside a dict from prefix to (value, locks, last use)."""

    @initialize()
    def start(self) -> None:
        self.tree: PrefixTree[str] = PrefixTree()
        self.values: dict[tuple[int, ...], str] = {}
        self.locks: dict[tuple[int, ...], int] = {}
        self.used: dict[tuple[int, ...], int] = {}
        self.held: list[tuple[tuple[int, ...], tuple]] = []
        self.clock = 0

    def prefixes(self, keys: Iterable[int]) -> list[tuple[int, ...]]:
        keys = tuple(keys)
        return [keys[: length + 1] for length in range(len(keys))]

    def touch(self, known: list[tuple[int, ...]]) -> None:
        """Uses prefixes now: those of equal age leave from the longest on."""
        self.clock += 1
        for prefix in known:
            if not self.locks[prefix]:
                self.used[prefix] = self.clock

    @rule(keys=KEYS)
    def match(self, keys: list[int]) -> None:
        expected = []
        for prefix in self.prefixes(keys):
            if prefix not in self.values:
                break
            expected.append(prefix)
        path = self.tree.match(keys)
        assert [node.value for node in path] == [self.values[prefix] for prefix in expected]
        self.touch(expected)

    @rule(keys=KEYS)
    def insert(self, keys: list[int]) -> None:
        fresh = [index for index, prefix in enumerate(self.prefixes(keys)) if prefix not in self.values]
        asked: list[int] = []

        def make(index: int) -> str:
            asked.append(index)
            return f"{keys[: index + 1]} at {self.clock}"

        path = self.tree.insert(keys, make)
        assert asked == fresh
        for index, prefix in enumerate(self.prefixes(keys)):
            if index in fresh:
                self.values[prefix], self.locks[prefix] = f"{keys[: index + 1]} at {self.clock}", 0
            assert path[index].value == self.values[prefix]
        self.touch(self.prefixes(keys))

    @rule(keys=KEYS)
    def lock(self, keys: list[int]) -> None:
        path = self.tree.match(keys)
        prefixes = self.prefixes(keys[: len(path)])
        self.touch(prefixes)
        self.tree.lock(path)
        for prefix in prefixes:
            self.locks[prefix] += 1
        self.held.append((tuple(keys[: len(path)]), path))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unlock(self, data: st.DataObject) -> None:
        keys, path = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.tree.unlock(path)
        for prefix in self.prefixes(keys):
            self.locks[prefix] -= 1
        self.touch(self.prefixes(keys))

    @rule()
    def evict(self) -> None:
        evictable = [
            prefix
            for prefix in self.values
            if not self.locks[prefix]
            and not any(len(p) > len(prefix) and p[: len(prefix)] == prefix for p in self.values)
        ]
        node = self.tree.evict()
        assert (node is None) == (not evictable)
        if node is None:
            return
        gone = next(prefix for prefix, value in self.values.items() if value == node.value)
        assert gone in evictable, "what has something below it, or is locked, stays"
        # A prefix counts as used with everything that goes on from it.
        assert self.used[gone] == min(self.used[prefix] for prefix in evictable)
        for table in (self.values, self.locks, self.used):
            del table[gone]

    @rule()
    def clear(self) -> None:
        self.tree.clear()
        for table in (self.values, self.locks, self.used, self.held):
            table.clear()

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "tree"):
            assert len(self.tree) == len(self.values)
            assert sorted(node.value for node in self.tree) == sorted(self.values.values())
            assert self.tree.unlocked == sum(not locks for locks in self.locks.values())


class CacheMachine(RuleBasedStateMachine):
    """`PrefixCache` over a real pool beside sets of prefixes; a page's content is the prefix that it ends."""

    @initialize()
    def start(self) -> None:
        self.pool = PagePool(PAGES)
        self.cache = PrefixCache(self.pool, PAGE)
        self.content: dict[int, tuple[int, ...]] = {}
        self.kept: set[tuple[int, ...]] = set()
        self.claims: dict[Owner, tuple[list[int], Claim, bool]] = {}
        self.next_key = 1

    @staticmethod
    def pages(runs: Runs) -> list[int]:
        return [page for run in runs for page in range(run.start, run.stop)]

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=PAGE * PAGES), scored=st.integers(0, 12))
    def claim(self, tokens: list[int], scored: int) -> None:
        owner, self.next_key = Owner.request(self.next_key), self.next_key + 1
        reusable = min(len(tokens) - 1, scored + 4)
        before = self.kept_now()
        expected = 0
        while (expected + 1) * PAGE <= reusable and tuple(tokens[: (expected + 1) * PAGE]) in before:
            expected += 1
        in_use = {page for _, claim, _ in self.claims.values() for page in self.pages(claim.runs)}
        claim = self.cache.claim(owner, tokens, reusable)
        needed = -(-len(tokens) // PAGE)
        if claim is None:
            assert self.kept_now() == before, "nothing is evicted in vain"
            hit = {page for page, prefix in self.content.items() if prefix in self.prefixes(tokens, expected)}
            assert len(in_use | (hit & self.kept_pages())) + needed - expected > PAGES, "kept pages starve nobody"
            return
        pages = self.pages(claim.runs)
        assert claim.cached == expected
        assert len(pages) == len(set(pages)) == needed
        assert [self.content[page] for page in pages[:expected]] == self.prefixes(tokens, expected)
        assert not in_use & set(pages[expected:]), "a fresh page is nobody else's"
        for page in pages[expected:]:
            self.content[page] = ()
        self.claims[owner] = (tokens, claim, True)

    @staticmethod
    def prefixes(tokens: list[int], pages: int) -> list[tuple[int, ...]]:
        return [tuple(tokens[: (index + 1) * PAGE]) for index in range(pages)]

    def kept_pages(self) -> set[int]:
        return {page for page in range(PAGES) if self.pool.owns(Owner.prefix(page))}

    def kept_now(self) -> set[tuple[int, ...]]:
        return {self.content[page] for page in self.kept_pages()}

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), well=st.booleans())
    def release(self, data: st.DataObject, well: bool) -> None:
        owner = data.draw(st.sampled_from(list(self.claims)))
        tokens, claim, fresh = self.claims.pop(owner)
        whole = self.prefixes(tokens, len(tokens) // PAGE)
        before = self.kept_now()
        for page, prefix in zip(self.pages(claim.runs), whole, strict=False):
            self.content[page] = prefix
        self.cache.release(owner, claim.runs, tokens if well else ())
        assert self.kept_now() == before | (set(whole) if well and fresh else set())

    @rule()
    def flush(self) -> None:
        self.cache.flush()
        self.claims = {owner: (tokens, claim, False) for owner, (tokens, claim, _) in self.claims.items()}
        assert self.cache.pages == self.cache.unused == 0

    @invariant()
    def accounts_for_every_page(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.pool.check()
        self.cache.check()
        kept = self.kept_pages()
        assert len(kept) == len(self.kept_now()) == self.cache.pages, "no prefix is kept twice"
        assert self.cache.owners == {Owner.prefix(page) for page in kept}
        in_use = {page for _, claim, _ in self.claims.values() for page in self.pages(claim.runs)}
        assert self.cache.unused == len(kept - in_use)
        assert self.pool.free == PAGES - len(kept | in_use)


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_page_is_one_key_and_a_part_of_one_is_none() -> None:
    assert list(page_keys([1, 2, 3, 4, 5], 2)) == [(1, 2), (3, 4)]
    assert list(page_keys([1], 2)) == []


def test_a_path_is_not_unlocked_twice() -> None:
    tree: PrefixTree[None] = PrefixTree()
    path = tree.insert("ab", lambda _: None)
    tree.lock(path)
    tree.unlock(path)
    with pytest.raises(LocalProtocolError, match="more often"):
        tree.unlock(path)


def test_the_oldest_prefix_goes_first_and_from_its_end() -> None:
    tree: PrefixTree[str] = PrefixTree()
    tree.insert("ab", "ab".__getitem__)
    tree.insert("xyz", "xyz".__getitem__)
    tree.match("ab")
    left = [node.value for node in iter(tree.evict, None)]
    assert left == ["z", "y", "x", "b", "a"]


def used(cache: PrefixCache, key: int, tokens: list[int]) -> Claim:
    """A request that computes its pages and closes well."""
    claim = cache.claim(Owner.request(key), tokens, len(tokens) - 1)
    assert claim is not None
    cache.release(Owner.request(key), claim.runs, tokens)
    return claim


def test_a_hit_leaves_at_least_a_token_to_compute() -> None:
    cache = PrefixCache(PagePool(8), 2)
    assert used(cache, 1, [1, 2, 3, 4]).cached == 0
    assert used(cache, 2, [1, 2, 3, 4]).cached == 1, "the last page has the last token"
    assert used(cache, 3, [1, 2, 3, 4, 5]).cached == 2


def test_two_that_compute_the_same_keep_it_once() -> None:
    pool = PagePool(8)
    cache = PrefixCache(pool, 2)
    tokens = [1, 2, 3, 4, 5]
    first, second = (cache.claim(Owner.request(key), tokens, 4) for key in (1, 2))
    assert first is not None
    assert second is not None
    assert first.cached == second.cached == 0
    cache.release(Owner.request(1), first.runs, tokens)
    cache.release(Owner.request(2), second.runs, tokens)
    assert (cache.pages, pool.free) == (2, 6)


def test_what_is_in_use_outlives_a_flush_and_is_not_kept_after_it() -> None:
    pool = PagePool(4)
    cache = PrefixCache(pool, 2)
    used(cache, 1, [1, 2, 3])
    hit = cache.claim(Owner.request(2), [1, 2, 3], 2)
    assert hit is not None
    assert hit.cached == 1
    cache.flush()
    assert pool.free == 2, "the request still reads its pages"
    assert used(cache, 3, [1, 2, 3]).cached == 0, "a flush is final"
    cache.release(Owner.request(2), hit.runs, [1, 2, 3])
    assert (cache.pages, pool.free) == (1, 3)
    pool.check()


def test_switched_off_it_gives_pages_and_keeps_none() -> None:
    pool = PagePool(4)
    cache = PrefixCache(pool, 2, enabled=False)
    assert [used(cache, key, [1, 2, 3]).cached for key in (1, 2)] == [0, 0]
    assert (cache.pages, pool.free, cache.hit_rate) == (0, 4, 0.0)


def test_the_hit_rate_is_that_of_tokens() -> None:
    cache = PrefixCache(PagePool(8), 2)
    assert cache.hit_rate == 0.0
    used(cache, 1, [1, 2, 3, 4])
    used(cache, 2, [1, 2, 3, 4, 5, 6])
    assert cache.hit_rate == 4 / 10


def test_a_tree_that_the_pool_does_not_know_is_told() -> None:
    pool = PagePool(4)
    cache = PrefixCache(pool, 2)
    used(cache, 1, [1, 2, 3])
    cache.check()
    pool.release((Run(0, 1),), Owner.prefix(0))
    with pytest.raises(LocalProtocolError, match="do not agree"):
        cache.check()
