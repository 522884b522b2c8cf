from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.proof.host_counters import Count
from pdpanel.panel.proof.judge import judge
from pdpanel.panel.proof.looks import EngineKv, Look, differences, moved_by_engine
from pdpanel.panel.proof.verdict import Asked, Counter, Verdict, Way

MB = 1e6
KINDS = {"lo": Counter.LOOPBACK, "eth0": Counter.NETDEV, "mlx5_0:1": Counter.RDMA, "mlx5_1:1": Counter.RDMA}
# Seconds of each span and the test requests' KV in it: four spans before, three requests, the time to settle.
SPANS = [(0.5, 0.0)] * 4 + [(1.0, 10 * MB)] * 3 + [(1.0, 0.0)]
BEFORE = 5
WAYS = {Way.LOOPBACK: {"lo": 1.02}, Way.TCP: {"eth0": 1.04}, Way.RDMA: {"mlx5_0:1": 0.52, "mlx5_1:1": 0.52}}


def measured(load: Sequence[float], carries: Mapping[str, float], beside: Mapping[str, float]) -> list[Look]:
    """Returns the looks at a host.

    Args:
        load: KV bytes per second of other requests in each span.
        carries: bytes that a link carries for each byte of KV.
        beside: bytes per second that a link carries of something else.
    """
    kv = [0.0, *accumulate(own * seconds + test for own, (seconds, test) in zip(load, SPANS, strict=True))]
    times = [0.0, *accumulate(seconds for seconds, _ in SPANS)]

    def links(at: float, moved: float) -> dict[str, Count]:
        totals = {name: 1e9 + carries.get(name, 0.0) * moved + beside.get(name, 0.0) * at for name in KINDS}
        return {name: Count(kind, name, "files", (totals[name], totals[name])) for name, kind in KINDS.items()}

    return [Look(at, links(at, moved), moved) for at, moved in zip(times, kv, strict=True)]


def verdict(looks: Sequence[Look]) -> Verdict:
    before, during = looks[:BEFORE], looks[BEFORE:]
    kv = moved_by_engine(before, during[-1])
    return judge(differences(before, during), None if kv is None else kv.whole, Asked.ANY, ())


loads = st.one_of(
    st.floats(0, 1e12).map(lambda rate: [rate] * len(SPANS)),
    st.lists(st.floats(0, 1e11), min_size=len(SPANS), max_size=len(SPANS)),
)


@given(load=loads, way=st.sampled_from(list(WAYS)), other=st.sampled_from(list(KINDS)), rate=st.floats(0, 2 * MB))
def test_no_load_of_its_own_hides_or_changes_the_way(load: list[float], way: Way, other: str, rate: float) -> None:
    beside = {other: rate}
    quiet = verdict(measured([0.0] * len(SPANS), WAYS[way], beside))
    busy = verdict(measured(load, WAYS[way], beside))
    assert quiet.way is way
    assert (busy.way, sorted(busy.links)) == (quiet.way, sorted(quiet.links))


def test_traffic_of_others_as_large_as_the_load_is_not_taken_for_it() -> None:
    load = [9 * MB, 14 * MB, 11 * MB, 8 * MB, 12 * MB, 9 * MB, 13 * MB, 10 * MB]
    found = verdict(measured(load, {"lo": 1.0}, {"eth0": 11 * MB, "mlx5_0:1": 15 * MB}))
    assert (found.way, found.links) == (Way.LOOPBACK, ("lo",))
    assert verdict(measured(load, {}, {"eth0": 11 * MB})).way is Way.UNKNOWN


def test_a_transfer_across_a_look_does_no_harm() -> None:
    """The link counts bytes as they go, the engine counts a transfer when it has ended."""
    looks = measured([20 * MB] * len(SPANS), {"lo": 1.0}, {})
    late = [9 * MB, 3 * MB, 8 * MB, 0.0, 9 * MB, 2 * MB, 7 * MB, 0.0, 6 * MB]
    told = [
        Look(one.at, one.links, 50 * MB + (one.engine or 0.0) - behind) for one, behind in zip(looks, late, strict=True)
    ]
    assert verdict(told).way is Way.LOOPBACK


def test_the_engine_says_how_much_was_its_own_load() -> None:
    looks = measured([5 * MB] * len(SPANS), {"lo": 1.0}, {})
    assert moved_by_engine(looks[:BEFORE], looks[-1]) == EngineKv(50 * MB, 20 * MB)
    backwards = [*looks[:-1], Look(looks[-1].at, looks[-1].links, 1.0)]
    assert moved_by_engine(backwards[:BEFORE], backwards[-1]) is None
    assert verdict(backwards).way is Way.UNKNOWN


def test_what_travels_beside_the_load_is_taken_off() -> None:
    looks = measured([5 * MB, 9 * MB] * 4, {"lo": 1.0}, {"lo": 10 * MB})
    first = differences(looks[:BEFORE], looks[BEFORE:])[0]
    kv = moved_by_engine(looks[:BEFORE], looks[-1])
    assert kv is not None and first.moved is not None
    assert first.name == "lo" and kv.whole <= first.moved[0] <= 1.2 * kv.whole
    assert 30 * MB <= first.background[0] <= 40 * MB
