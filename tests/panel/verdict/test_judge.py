"""The rule on made-up runs whose limits are known by an ablation of the same run, and at its edges."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from closed_network import Made, rows_of
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.verdict.evidence import Evidence
from pdpanel.panel.verdict.judge import LEAST_ROWS, judge
from pdpanel.panel.verdict.shape import Room, Shape, Worker
from pdpanel.panel.verdict.values import Action, Limit, Verdict

PD = Shape((Worker("prefill-0", 32, 512, 512),), (Worker("decode-0", 32, 512),), routers=("router",), transport="tcp")
UNIFIED = Shape(unified=(Worker("unified-0", 8, 512),), routers=("router",))
PARTS = ("prefill", "decode", "transfer", "router")

Rows = Sequence[tuple[float, Mapping[str, float]]]


def verdict_of(made: Made, room: Room | None = None) -> Verdict:
    shape = replace(PD, decode=(Worker("decode-0", made.places, 512),))
    return judge(Evidence(rows_of(made)[0], shape, room or Room(cores=4.0)))


def truth_of(made: Made) -> tuple[str, float, float]:
    """Returns the part whose relief helps most, by how much, and by how much the next one does."""
    long = replace(made, seconds=200.0)
    base = rows_of(long)[1]
    gains = {part: rows_of(replace(long, **{part: getattr(made, part) / 2}))[1] / base for part in PARTS}
    best, second, *_ = sorted(gains, key=lambda part: -gains[part])
    return best, gains[best], gains[second]


@pytest.mark.parametrize(
    ("made", "limit"),
    [
        (Made(prefill=0.5), Limit.PREFILL),
        (Made(decode=2.0), Limit.DECODE),
        (Made(transfer=0.6), Limit.TRANSFER),
        (Made(router=0.4), Limit.ROUTER),
        (Made(decode=1.0, places=1), Limit.DECODE),
        (Made(prefill=0.5, decode=0.2, clients=1), Limit.PREFILL),
        (Made(prefill=0.1, decode=0.9, clients=1), Limit.DECODE),
        (Made(prefill=0.3, clients=60), Limit.PREFILL),
        (Made(prefill=0.5, clients=0, rate=6.0), Limit.PREFILL),
        (Made(decode=1.0, places=2, clients=0, rate=6.0), Limit.DECODE),
        (Made(prefill=0.1, decode=0.5, clients=0, rate=1.5), Limit.NOTHING),
    ],
)
def test_the_verdict_names_what_was_arranged(made: Made, limit: Limit) -> None:
    found = verdict_of(made)
    assert found.limit is limit, (found.sentence, found.gains)
    assert bool(found.suggestions) is (limit is not Limit.NOTHING)


def test_a_client_that_is_seen_between_two_requests_now_and_then_still_waits_for_each_answer() -> None:
    """A single client's run is empty for a moment after each answer, and some samples fall into those moments."""
    rows = rows_of(Made(prefill=0.5, decode=0.2, clients=1))[0]
    empty = [(t, {**dict.fromkeys(values, 0.0)} if row % 8 == 5 else values) for row, (t, values) in enumerate(rows)]
    found = judge(Evidence(empty, PD, Room(cores=4.0)))
    assert found.limit is Limit.PREFILL, found.sentence


@pytest.mark.parametrize("odd", [3, 9])
def test_clients_that_are_answered_together_still_wait_for_each_answer(odd: int) -> None:
    """Requests of one batch end together: a sample that fell between two batches made the verdict "nothing"."""
    busy = {"proc/unified-0/running": 4.0, "proc/unified-0/queued": 0.0, "proc/router/running": 4.0}
    rows = [(t / 2, dict.fromkeys(busy, 0.0) if t == odd else busy) for t in range(16)]
    found = judge(Evidence(rows, UNIFIED, Room(cores=0.0)))
    assert found.limit is Limit.UNIFIED, found.sentence


def late(rows: Rows, lag_s: float, late_percent: float, rate: float) -> Rows:
    """Adds what a router says of its event loop."""
    loop = {"proc/router/loop_lag_s": lag_s, "proc/router/loop_late_percent": late_percent, "run/requests_per_s": rate}
    return [(t, {**values, **loop}) for t, values in rows]


def test_a_router_that_is_hardly_let_run_is_named_although_it_looks_idle() -> None:
    """A CPU quota stopped a router for most of the time: its requests waited in its sockets, where it counts none.

    What it had counted went up and down with its pauses, its CPU was at 3 %, and the verdict was "nothing".
    """
    rng = random.Random(0)
    rows = rows_of(Made(prefill=0.01, transfer=0.02, decode=0.02, clients=8))[0]
    seen = [(t, {**values, "proc/router/running": float(rng.choice((0, 1, 4, 6, 8)))}) for t, values in rows]
    assert judge(Evidence(late(seen, 0.0001, 0.0, 28.0), PD)).limit is not Limit.ROUTER
    found = judge(Evidence(late(seen, 0.15, 97.0, 28.0), PD))
    assert found.limit is Limit.ROUTER, found.sentence
    assert "busy 97% of the time" in found.sentence
    assert any(one.series == "proc/router/loop_lag_s" and one.value == 0.15 for one in found.evidence)


def test_a_late_router_with_few_requests_limits_nothing() -> None:
    rows = late(rows_of(Made(prefill=0.1, decode=0.5, clients=0, rate=1.5))[0], 0.05, 95.0, 1.5)
    assert judge(Evidence(rows, PD)).limit is Limit.NOTHING


def test_the_verdict_agrees_with_an_ablation_of_random_runs() -> None:
    rng = random.Random(6)
    wrong: list[object] = []
    clear = 0
    for seed in range(60):
        times = {part: 10 ** rng.uniform(-1.7, 0) for part in PARTS}
        made = Made(**times, places=rng.choice((1, 2, 4, 32)), clients=rng.choice((1, 2, 4, 8, 40)), seed=seed)
        best, gain, second = truth_of(made)
        if gain < 1.2 or gain - second < 0.1:
            continue
        clear += 1
        found = verdict_of(made)
        if str(found.limit) != best:
            wrong.append((made, best, gain, second, found.limit, found.gains))
    assert clear >= 20
    assert len(wrong) <= clear // 10, "\n".join(map(str, wrong))


def test_an_idle_run_is_limited_by_nothing() -> None:
    found = verdict_of(Made(clients=0))
    assert (found.limit, found.sentence) == (Limit.NOTHING, "Nothing limits it: no load now.")
    assert not found.suggestions


@pytest.mark.parametrize("count", [0, LEAST_ROWS - 1])
def test_too_few_samples_tell_nothing(count: int) -> None:
    rows = rows_of(Made(prefill=0.5))[0][:count]
    assert judge(Evidence(rows, PD)).limit is Limit.UNKNOWN


def test_samples_without_the_workers_queues_tell_nothing() -> None:
    rows = [(float(t), {"proc/prefill-0/running": 1.0, "host/cpu_percent": 50.0}) for t in range(40)]
    found = judge(Evidence(rows, PD))
    assert found.limit is Limit.UNKNOWN
    assert "queues of every worker" in found.sentence


def test_gaps_change_nothing() -> None:
    made = Made(prefill=0.5)
    rows = [(t, {} if number % 3 == 1 else values) for number, (t, values) in enumerate(rows_of(made)[0])]
    assert judge(Evidence(rows, PD)).limit is Limit.PREFILL


def test_a_unified_worker_is_named_as_one_that_does_both() -> None:
    busy = {"proc/unified-0/running": 8.0, "proc/unified-0/queued": 4.0, "proc/router/running": 12.0}
    found = judge(Evidence([(t / 2, busy) for t in range(40)], UNIFIED, Room(cores=0.0)))
    assert found.limit is Limit.UNIFIED
    assert "prompts and answers share each step" in found.sentence


def test_prefill_without_pages_waits_for_the_transfer() -> None:
    values = {
        "proc/prefill-0/running": 0.0,
        "proc/prefill-0/queued": 3.0,
        "proc/prefill-0/bootstrap_queue": 0.0,
        "proc/prefill-0/inflight_queue": 1.0,
        "proc/prefill-0/slot_pages_used": 0.0,
        "proc/prefill-0/staging_pages_used": 510.0,
        "proc/decode-0/running": 0.0,
        "proc/decode-0/slot_pages_used": 1.0,
        "proc/decode-0/transfer_queue": 4.0,
    }
    found = judge(Evidence([(t / 2, values) for t in range(40)], PD))
    assert found.limit is Limit.TRANSFER
    assert "no pages left" in found.sentence


def test_sglangs_queues_are_read_as_they_are_meant() -> None:
    # Its waiting queue does not hold who waits for decode, and its decode queue holds who has its KV already.
    values = {
        "proc/prefill-0/queued": 0.0,
        "proc/prefill-0/bootstrap_queue": 9.0,
        "proc/decode-0/running": 8.0,
        "proc/decode-0/queued": 3.0,
        "proc/decode-0/prealloc_queue": 9.0,
    }
    rows = [(t / 2, {**values, "proc/prefill-0/running": float(t % 2)}) for t in range(40)]
    found = judge(Evidence(rows, PD))
    assert found.limit is Limit.DECODE
    assert "wait because its places or pages are taken" in found.sentence


def test_more_workers_are_only_offered_where_there_is_room() -> None:
    made = Made(prefill=0.5)
    (more,) = (one for one in verdict_of(made, Room(cores=2.0)).suggestions if "2P1D" in one.text)
    assert (more.action, more.changes) == (Action.PLAN, {"prefill.count": 2})
    for room in (Room(cores=0.1), Room()):
        (elsewhere,) = (one for one in verdict_of(made, room).suggestions if "2P1D" in one.text)
        assert elsewhere.action is Action.NONE
        assert "another one" in elsewhere.text


def test_a_gpu_worker_needs_free_gpus() -> None:
    shape = replace(PD, prefill=(Worker("prefill-0", gpus=2),))
    rows = rows_of(Made(prefill=0.5))[0]
    for gpus, action in ((1, Action.NONE), (2, Action.PLAN)):
        found = judge(Evidence(rows, shape, Room(cores=64.0, gpus=gpus)))
        assert found.suggestions[0].action is action


def test_a_full_line_is_told_with_its_share() -> None:
    rows = [(t, {**values, "nic/mlx5_0:1/tx_bytes_per_s": 45e9}) for t, values in rows_of(Made(transfer=0.6))[0]]
    for limit, words in ((50e9, "more NICs"), (500e9, "prove the transport")):
        found = judge(Evidence(rows, PD, limits={"nic/mlx5_0:1/tx_bytes_per_s": limit}))
        assert words in found.suggestions[0].text


_QUANTITIES = ("running", "queued", "bootstrap_queue", "inflight_queue", "prealloc_queue", "transfer_queue")


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([f"proc/{name}/{what}" for name in ("prefill-0", "decode-0") for what in _QUANTITIES]),
            st.floats(0, 1e6),
        ),
        max_size=30,
    )
)
def test_any_samples_have_a_verdict(rows: list[dict[str, float]]) -> None:
    found = judge(Evidence([(t / 2, values) for t, values in enumerate(rows)], PD))
    assert 0 <= found.confidence <= 1
    assert found.sentence.endswith(".")
    assert all(1 <= gain <= 2 for gain in found.gains.values())
