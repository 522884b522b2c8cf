"""Rounds among variants, and what is compared with what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.bench.comparison import Goal
from pdpanel.panel.bench.suites.engine_cases import cases_of, prompt_of, thread_counts
from pdpanel.panel.bench.suites.engine_race import Variant, best_of, compared, race


def test_a_variant_far_behind_its_sibling_is_measured_once_and_order_turns() -> None:
    rates = {Variant("a", 1): 5.0, Variant("a", 2): 10.0, Variant("b", 1): 9.0, Variant("b", 2): 10.0}
    calls: list[Variant] = []

    def measure(variant: Variant) -> float:
        calls.append(variant)
        return rates[variant]

    found = race({variant: (lambda variant=variant: measure(variant)) for variant in rates}, 3)
    assert {variant: len(values) for variant, values in found.items()} == dict(zip(rates, (1, 3, 3, 3), strict=True))
    last = [Variant("a", 2), Variant("b", 1), Variant("b", 2)]
    assert calls == [*rates, *reversed(last), *last]


def test_a_peer_that_cannot_be_the_fastest_is_measured_once_unless_it_is_named() -> None:
    rates = {"ours": 1.0, "named": 2.0, "slow": 4.0, "near": 6.0, "fast": 10.0}
    measures = {Variant(name, 1): (lambda rate=rate: rate) for name, rate in rates.items()}
    found = race(measures, 3, peers=("named", "slow", "near", "fast"), named="named")
    assert {variant.name: len(values) for variant, values in found.items()} == {
        "ours": 3,
        "named": 3,
        "slow": 1,
        "near": 3,
        "fast": 3,
    }


def test_ours_stands_against_each_peers_best_the_fastest_and_equal_counts() -> None:
    found = {
        Variant("ours", 1): [20.0],
        Variant("ours", 2): [30.0, 40.0, 50.0],
        Variant("slow", 1): [10.0],
        Variant("slow", 2): [4.0],
        Variant("fast", 1): [15.0],
        Variant("fast", 2): [25.0, 20.0, 15.0],
    }
    goals = {"slow": Goal(at_least=5)}
    lines = compared("batch=1", "rate", found, "ours", goals=goals, fastest_goal=Goal(at_least=1.2), note="int4")
    best = [line for line in lines if line.case == "batch=1"]
    assert [(line.peer, line.ratio, line.is_met) for line in best] == [
        ("slow, 1 thread", 4.0, False),
        ("fast, 2 threads", 2.0, None),
        ("the fastest peer: fast, 2 threads", 2.0, True),
    ]
    assert {line.note for line in best} == {"ours with 2 threads; int4"}
    equal = [(line.case, line.peer, line.value, line.peer_value, line.goal) for line in lines if line not in best]
    assert equal == [
        ("batch=1,threads=1", "slow", 20, 10, None),
        ("batch=1,threads=1", "fast", 20, 15, None),
        ("batch=1,threads=2", "slow", 40, 4, None),
        ("batch=1,threads=2", "fast", 40, 20, None),
    ]


def test_without_a_peer_ours_stands_alone() -> None:
    (line,) = compared("c", "rate", {Variant("ours", 1): [3.0]}, "ours", goals={}, fastest_goal=Goal(at_least=1))
    assert (line.peer, line.value, line.is_met) == ("", 3.0, None)
    assert best_of({Variant("ours", 1): [3.0]}, "other") is None


@given(st.integers(0, 300), st.integers(0, 300), st.integers(2, 50_000), st.integers(0, 9))
def test_prompts_are_ids_and_the_same_for_all(short: int, more: int, vocab: int, seed: int) -> None:
    longer = prompt_of(short + more, vocab, seed)
    assert prompt_of(short, vocab, seed) == longer[:short]
    assert all(0 <= token < vocab for token in longer)


def test_the_goals_of_the_full_form_are_those_of_the_issue() -> None:
    cases = cases_of(short=False)
    assert {(c.batch, c.context): (c.over_transformers, c.over_fastest) for c in cases.decode} == {
        (1, 128): (4.0, 1.2),
        (8, 128): (4.0, 1.2),
        (32, 128): (1.5, None),
        (1, 1024): (None, None),
    }
    assert {c.prompt: (c.over_transformers, c.over_fastest) for c in cases.prefill} == {
        128: (None, None),
        512: (1.2, 1.0),
        2048: (1.2, 1.0),
    }
    assert cases.text >= 1000
    assert (thread_counts(1), thread_counts(2), thread_counts(64)) == ((1,), (1, 2), (1, 2))
