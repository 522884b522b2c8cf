"""cache_aware: the tree of prompts, and how it is weighed against the loads."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.router.config import CacheConfig
from pdpanel.engine.router.policies import CacheAware
from pdpanel.engine.router.prefix_tree import PrefixTree

OWNERS = ["a", "b", "c"]
PROMPTS = st.text("xyz", max_size=8).map(str.encode)
SENT = st.lists(st.tuples(PROMPTS, st.sampled_from(OWNERS)), max_size=30)


@dataclass
class Candidate:
    url: str
    active: int = 0
    picked_at: int = 0


def common(first: bytes, second: bytes) -> int:
    most = min(len(first), len(second))
    return next((at for at in range(most) if first[at] != second[at]), most)


@given(SENT, PROMPTS)
def test_the_tree_knows_the_longest_beginning_and_all_who_had_it(sent: list[tuple[bytes, str]], prompt: bytes) -> None:
    tree = PrefixTree()
    for text, owner in sent:
        tree.insert(text, owner)
    longest = {o: max((common(t, prompt) for t, owner in sent if owner == o), default=0) for o in OWNERS}
    length, owners = tree.match(prompt, OWNERS)
    assert length == max(longest.values())
    assert sorted(owners) == sorted(o for o in OWNERS if longest[o] == length and length)
    for owner in OWNERS:
        distinct = {text[:end] for text, who in sent if who == owner for end in range(1, len(text) + 1)}
        assert tree.size(owner) == len(distinct)


@given(SENT, st.integers(0, 20), st.sampled_from(OWNERS))
def test_eviction_keeps_the_limit_the_newest_prompt_and_whole_beginnings(
    sent: list[tuple[bytes, str]], most: int, gone: str
) -> None:
    tree = PrefixTree()
    for text, owner in sent:
        tree.insert(text, owner)
    tree.evict(most)
    assert all(tree.size(owner) <= most for owner in OWNERS)
    if sent and len(sent[-1][0]) <= most:
        text, owner = sent[-1]
        assert tree.match(text, [owner])[0] == len(text)
    tree.forget(gone)
    assert tree.size(gone) == 0
    assert all(gone not in tree.match(text, OWNERS)[1] for text, _ in sent)


def test_eviction_takes_the_oldest_first() -> None:
    tree = PrefixTree()
    for text in (b"old one", b"new one", b"old two"):
        tree.insert(text, "a")
    tree.insert(b"old one", "a")
    tree.evict(len(b"old onetwo"))
    assert tree.match(b"new one", "a")[0] == 0
    assert tree.match(b"old one", "a")[0] == 7 and tree.match(b"old two", "a")[0] == 7


def test_a_prompt_goes_where_its_beginning_was() -> None:
    policy, workers = CacheAware(CacheConfig(threshold=0.5)), [Candidate("a"), Candidate("b")]
    first = policy.pick(workers, b"system prompt, question 1")
    other = policy.pick(workers, b"another prompt altogether")
    assert other is not first
    assert policy.pick(workers, b"system prompt, question 2") is first
    policy.pick([other], b"much that is unlike everything before")
    assert policy.pick(workers, b"another prompt, but altogether different and long") is first
    policy.forget(first.url)
    assert policy.pick([first, other], b"system prompt, question 3") is first


def test_uneven_loads_outweigh_a_known_beginning() -> None:
    policy = CacheAware(CacheConfig(balance_abs=4, balance_rel=1.5))
    busy, idle = Candidate("a", picked_at=1), Candidate("b", picked_at=2)
    assert policy.pick([busy, idle], b"prompt") is busy
    busy.active = 4
    assert policy.pick([busy, idle], b"prompt") is busy
    busy.active = 5
    assert policy.pick([busy, idle], b"prompt") is idle


@given(st.lists(st.integers(0, 200), min_size=1, max_size=6), PROMPTS)
def test_it_always_picks_one_of_those_it_may(loads: list[int], prompt: bytes) -> None:
    policy = CacheAware(CacheConfig())
    workers = [Candidate(str(number), load) for number, load in enumerate(loads)]
    for _ in range(2):
        picked = policy.pick(workers, prompt)
        assert picked in workers
        if max(loads) - min(loads) > 64 and max(loads) > 1.5 * min(loads):
            assert picked.active == min(loads)
