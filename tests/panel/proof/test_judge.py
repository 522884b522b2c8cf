from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.proof.judge import judge
from pdpanel.panel.proof.verdict import Asked, Counter, Difference, Way

MB = 1e6
KV = 100 * MB


def link(
    kind: Counter,
    name: str,
    sent: float = 0.0,
    received: float = 0.0,
    *,
    noise: float = 0.0,
    fabric: str = "",
    background: tuple[float, float] = (0.0, 0.0),
) -> Difference:
    begin = (5e9, 7e9)
    end = (begin[0] + sent + background[0], begin[1] + received + background[1])
    return Difference(kind, name, "files", begin, end, background, noise, fabric)


def rdma(name: str, sent: float, received: float = 0.0, fabric: str = "RoCE v2") -> Difference:
    return link(Counter.RDMA, name, sent, received, fabric=fabric)


IDLE = (link(Counter.LOOPBACK, "lo", 0.4 * MB, 0.4 * MB), link(Counter.NETDEV, "eth0", 0.1 * MB, 0.2 * MB))
FOUR = ("mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3")


def said(*links: Difference, asked: Asked = Asked.RDMA, nics: tuple[str, ...] = (), kv: float | None = KV) -> str:
    return judge(links, kv, asked, nics).sentence


def test_one_nic_of_one() -> None:
    verdict = judge((*IDLE, rdma("mlx5_1:1", 103 * MB)), KV, Asked.RDMA, ("mlx5_1",))
    assert verdict.sentence == "This deployment's KV travels over RDMA on mlx5_1, 1 of 1 NICs, RoCE v2."
    assert (verdict.way, verdict.as_asked, verdict.links) == (Way.RDMA, True, ("mlx5_1:1",))


def test_all_nics_between_two_workers_of_this_host() -> None:
    """What one NIC sends another receives: bytes that travel once are counted twice."""
    links = [rdma(f"mlx5_{n}:1", 50 * MB * (n < 2), 50 * MB * (n > 1)) for n in range(4)]
    text = said(*IDLE, *links, nics=FOUR)
    assert text == (
        "This deployment's KV travels over RDMA on mlx5_0, mlx5_1, mlx5_2 and mlx5_3, 4 of 4 NICs, RoCE v2."
    )


def test_some_nics_of_those_asked_for() -> None:
    links = [rdma(f"mlx5_{n}:1", 100 * MB * (n == 2), fabric="InfiniBand") for n in range(4)]
    assert "on mlx5_2, 1 of 4 NICs, InfiniBand" in said(*links, nics=FOUR)


def test_a_nic_that_nobody_asked_for_is_named() -> None:
    assert "0 of 1 NICs, RoCE v2 (mlx5_7 not among those asked for)" in said(rdma("mlx5_7:1", KV), nics=("mlx5_0",))


def test_tcp_although_rdma_was_asked_for() -> None:
    verdict = judge((rdma("mlx5_0:1", 0), link(Counter.NETDEV, "eth0", 104 * MB)), KV, Asked.RDMA, ("mlx5_0",))
    assert verdict.sentence == "This deployment's KV travels over TCP on eth0, although RDMA was asked for."
    assert (verdict.way, verdict.as_asked) == (Way.TCP, False)


def test_rdma_although_tcp_was_asked_for() -> None:
    assert "over RDMA on mlx5_0" in said(rdma("mlx5_0:1", KV), asked=Asked.TCP)
    assert "although TCP was asked for" in said(rdma("mlx5_0:1", KV), asked=Asked.TCP)


def test_loopback_and_shared_memory() -> None:
    loop = judge((link(Counter.LOOPBACK, "lo", KV, KV), IDLE[1]), KV, Asked.TCP, ())
    assert loop.sentence == "This deployment's KV travels over TCP on lo, the loopback of this host."
    assert (loop.way, loop.as_asked) == (Way.LOOPBACK, True)
    shared = judge(IDLE, KV, Asked.SHARED_MEMORY, ())
    assert (shared.way, shared.as_asked) == (Way.SHARED_MEMORY, True)
    assert "although shared memory was asked for" in said(
        link(Counter.LOOPBACK, "lo", KV, KV), asked=Asked.SHARED_MEMORY
    )


def test_nothing_rose_proves_shared_memory_only_where_it_was_asked_for() -> None:
    for asked in (Asked.RDMA, Asked.TCP, Asked.ANY):
        verdict = judge(IDLE, KV, asked, ())
        assert verdict.way is Way.UNKNOWN and "no network link's counter rose" in verdict.sentence


def test_software_rdma_shows_on_its_interface_too_and_counts_as_rdma() -> None:
    links = (rdma("rxe0:1", 105 * MB), link(Counter.NETDEV, "eth0", 110 * MB))
    assert "over RDMA on rxe0" in said(*links)


def test_two_ways() -> None:
    verdict = judge((rdma("mlx5_0:1", 60 * MB), link(Counter.NETDEV, "eth0", 42 * MB)), KV, Asked.RDMA, ("mlx5_0",))
    assert verdict.way is Way.MIXED and verdict.as_asked is False
    assert "60% over RDMA on mlx5_0:1 and 42% over TCP on eth0" in verdict.sentence


def test_nvlink() -> None:
    links = (link(Counter.NVLINK, "0000:18:00.0", KV), link(Counter.NVLINK, "0000:2a:00.0", 0, KV), *IDLE)
    assert "over NVLink between 0000:18:00.0 and 0000:2a:00.0" in said(*links)


@pytest.mark.parametrize(
    ("links", "kv", "words"),
    [
        (IDLE, None, "the engine does not say"),
        (IDLE, 1000.0, "only 1.0 kB of KV moved"),
        ((), KV, "no counters to compare"),
        ((link(Counter.LOOPBACK, "lo", KV, KV), link(Counter.NETDEV, "eth0", KV)), KV, "eth0 and lo each carried"),
        ((link(Counter.NETDEV, "eth0", KV, noise=80 * MB),), KV, "other traffic on eth0 was as large"),
        ((link(Counter.NETDEV, "eth0", 0, noise=80 * MB),), KV, "other traffic on eth0 hides"),
        ((link(Counter.NETDEV, "eth0", 50 * MB),), KV, "show only 50%"),
        ((Difference(Counter.RDMA, "mlx5_0:1", "", None, None),), KV, "the counters of mlx5_0:1 cannot be read"),
    ],
)
def test_what_cannot_be_told_says_why(links: tuple[Difference, ...], kv: float | None, words: str) -> None:
    verdict = judge(links, kv, Asked.RDMA, ())
    assert verdict.way is Way.UNKNOWN and verdict.as_asked is None
    assert verdict.sentence.startswith("Which way this deployment's KV travels cannot be told, because ")
    assert words in verdict.sentence


def test_a_counter_that_was_reset_is_no_count() -> None:
    reset = Difference(Counter.RDMA, "mlx5_0:1", "", (9e9, 9e9), (1e6, 1e6))
    assert reset.moved is None
    assert "cannot be read" in said(reset)


def test_background_does_not_count() -> None:
    busy = link(Counter.NETDEV, "eth0", background=(90 * MB, 90 * MB))
    assert "no network link" in said(busy)


links_of = st.lists(
    st.builds(
        link,
        st.sampled_from(list(Counter)),
        st.sampled_from(["a:1", "b:1", "c"]),
        st.floats(0, 3 * KV),
        st.floats(0, 3 * KV),
        noise=st.floats(0, KV),
    ),
    max_size=6,
)


@given(links_of, st.none() | st.floats(0, KV), st.sampled_from(list(Asked)), st.lists(st.sampled_from(["a", "b"])))
def test_never_more_is_said_than_counters_show(
    links: list[Difference], kv: float | None, asked: Asked, nics: list[str]
) -> None:
    """Whatever was measured: a way is named only if links of its kind carried most of what the engine moved."""
    verdict = judge(links, kv, asked, nics)
    assert verdict.sentence.endswith(".") and "\n" not in verdict.sentence
    kinds = {
        Way.RDMA: Counter.RDMA,
        Way.TCP: Counter.NETDEV,
        Way.LOOPBACK: Counter.LOOPBACK,
        Way.NVLINK: Counter.NVLINK,
    }
    if verdict.way in kinds:
        moved = [one.moved or (0.0, 0.0) for one in links if one.kind is kinds[verdict.way]]
        assert kv is not None and verdict.links
        assert max(sum(sent for sent, _ in moved), sum(received for _, received in moved)) >= 0.7 * kv
    if verdict.way is Way.SHARED_MEMORY:
        assert asked is Asked.SHARED_MEMORY
    if kv is None:
        assert verdict.way is Way.UNKNOWN
    if verdict.as_asked is False:
        assert "although" in verdict.sentence
