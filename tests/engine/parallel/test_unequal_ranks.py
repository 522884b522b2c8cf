"""KV from workers of some ranks to workers of others over real endpoints: what arrives is what was computed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import pytest
import torch
from pdpanel.engine.lifecycle import State
from pdpanel.engine.parallel.layout import ParallelSizes
from pdpanel.engine.peer.messages import Abort, Commit, Grant, Message
from pdpanel.engine.request import Finish, FinishKind
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.transfer.faults import Fault, FaultPlan
from rank_pair import PAGES, RankPair

ONE = ParallelSizes()
# Two chunks and a bit, so that pages travel while others are computed; not a whole number of pages.
PROMPT = tuple((7 * i + 3) % 16 for i in range(31))


def play(make: Callable[[], RankPair], scenario: Callable[[RankPair], Awaitable[None]]) -> None:
    async def run() -> None:
        pair = make()
        try:
            await scenario(pair)
        finally:
            await pair.close()

    asyncio.run(run())


async def transfer(pair: RankPair, room: int, tokens: tuple[int, ...], groups: tuple[int, int] = (0, 0)) -> Sequence:
    """Has a request travel; asserts that its KV stands in decode's slot on each rank, byte for byte."""
    sequence = pair.submit(room, tokens, groups)
    await pair.until(lambda: sequence.state is State.RUNNING or room in pair.decode.finishes)
    assert room not in pair.decode.finishes, pair.decode.finishes
    for found, expected in pair.decode.received(sequence):
        assert torch.equal(found, expected)
    await pair.until(lambda: room in pair.prefill.finishes)
    return sequence


def writes_of(pair: RankPair) -> int:
    return sum(message.writes for message in pair.prefill.said if isinstance(message, Commit))


@pytest.mark.parametrize("backend", ["tcp", "shm"])
@pytest.mark.parametrize(("prefill", "decode"), [(1, 1), (2, 2), (2, 1), (1, 2), (3, 1), (2, 4), (4, 2)])
def test_kv_arrives_byte_for_byte(backend: str, prefill: int, decode: int) -> None:
    """Two prompts, the second with the first one's pages from the prefix cache."""

    async def scenario(pair: RankPair) -> None:
        await transfer(pair, 1, PROMPT)
        await transfer(pair, 2, (*PROMPT[:24], *PROMPT))
        commits = [message for message in pair.prefill.said if isinstance(message, Commit)]
        assert [commit.pages for commit in commits] == [8, 14]
        assert commits[1].cached_tokens == 24
        copies = sum(len(shard.kv_heads) for shard in pair.workers[1].shards)  # replicated heads travel again
        page_bytes = copies * pair.workers[1].kvs[0].cells.head_bytes
        assert [commit.bytes for commit in commits] == [8 * page_bytes, 14 * page_bytes]

    play(lambda: RankPair(ParallelSizes(prefill), ParallelSizes(decode), backend), scenario)


@pytest.mark.parametrize(("prefill", "decode"), [(2, 1), (1, 2), (3, 1), (2, 4)])
def test_unequal_ranks_take_at_most_twice_the_writes(prefill: int, decode: int) -> None:
    """For the same bytes; of equal workers as large as the larger one."""
    counts: list[int] = []

    async def scenario(pair: RankPair) -> None:
        await transfer(pair, 1, PROMPT)
        counts.append(writes_of(pair))

    play(lambda: RankPair(ParallelSizes(prefill), ParallelSizes(decode), bounce=PAGES), scenario)
    larger = ParallelSizes(max(prefill, decode))
    play(lambda: RankPair(larger, larger), scenario)
    assert counts[0] <= 2 * counts[1]


def test_without_room_to_gather_slices_travel_in_small_pieces() -> None:
    counts: list[int] = []

    async def scenario(pair: RankPair) -> None:
        await transfer(pair, 1, PROMPT)
        counts.append(writes_of(pair))

    for bounce in (0, 1, 8):
        play(partial(RankPair, ONE, ParallelSizes(2), bounce=bounce), scenario)
    assert counts[0] > counts[1] > counts[2]


def test_room_for_slices_comes_back() -> None:
    """Prompts one after the other, of which each needs nearly all of it."""

    async def scenario(pair: RankPair) -> None:
        each: list[int] = []
        for room in range(1, 5):
            before = writes_of(pair)
            await transfer(pair, room, tuple((room + token) % 16 for token in PROMPT))
            each.append(writes_of(pair) - before)
        assert each == [each[0]] * 4 and each[0] <= 6, "two for each chunk"

    play(lambda: RankPair(ONE, ParallelSizes(2), bounce=10), scenario)


def test_a_worker_of_one_rank_gives_no_orders_and_gathers_nothing_for_its_like() -> None:
    async def scenario(pair: RankPair) -> None:
        sequence = await transfer(pair, 1, PROMPT)
        assert sequence.prefill_tokens == len(PROMPT)
        assert writes_of(pair) == 3, "a write for each chunk"
        prefill, decode = pair.workers
        assert prefill.followers.sent == decode.followers.sent == 0
        untouched = prefill.kvs[0].staging[PAGES:]
        assert len(untouched) == 8 and not untouched.any()

    play(lambda: RankPair(ONE, ONE), scenario)


def test_attention_groups_have_pages_of_their_own() -> None:
    """Prefill's second group to decode's only one, and its first to decode's second."""

    async def scenario(pair: RankPair) -> None:
        await transfer(pair, 1, PROMPT, (1, 0))

    async def back(pair: RankPair) -> None:
        await transfer(pair, 1, PROMPT, (0, 1))

    play(lambda: RankPair(ParallelSizes(4, 2), ParallelSizes(1)), scenario)
    play(lambda: RankPair(ParallelSizes(1), ParallelSizes(4, 2)), back)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("fault", "is_quiet"), [(Fault.FAIL, True), (Fault.BREAK, True), (Fault.VANISH, False)])
def test_a_rank_whose_write_fails_fails_all_and_its_pages_wait_until_it_is_quiet(
    rank: int, fault: Fault, is_quiet: bool
) -> None:
    async def scenario(pair: RankPair) -> None:
        pair.submit(1, PROMPT)
        await pair.until(lambda: 1 in pair.decode.finishes and 1 in pair.prefill.finishes)
        finish = pair.decode.finishes[1]
        assert finish is not None and "on purpose" in finish.message
        assert pair.prefill.tokens == [] or not pair.decode.tokens
        await pair.until(lambda: not pair.prefill.core.rooms[1].writes_pending if pair.prefill.core.rooms else True)
        pools = pair.prefill.core.staging, pair.decode.core.staging
        if not is_quiet:
            assert pools[0].free < PAGES and pools[1].free < PAGES, "memory was given away that may still be touched"
            pair.prefill.ahead = 31.0  # the transport's hard timeout is over
            pair.prefill.post(lambda now: pair.prefill.core.tick(now))
        await pair.until(lambda: not pair.decode.core.fences)
        assert pools[0].free == pools[1].free == PAGES
        await transfer(pair, 2, PROMPT)

    plan = {rank: FaultPlan(script=(fault,))}
    play(lambda: RankPair(ParallelSizes(2), ONE, "faulty", plan), scenario)


def test_a_group_that_nobody_has_fails_its_room_alone() -> None:
    async def scenario(pair: RankPair) -> None:
        pair.submit(1, PROMPT, (0, 0))
        pair.decode.core.submit, submit = (lambda sequence, now: None), pair.decode.core.submit
        await pair.until(lambda: 1 in pair.prefill.core.rooms)
        pair.decode.core.submit = submit
        runs = ((0, 8),)
        pair.prefill.exchange.peer_said(pair.workers[1].address, Grant(1, runs, len(PROMPT), 1e9, group=7))
        await pair.until(lambda: 1 in pair.prefill.finishes)
        finish = pair.prefill.finishes[1]
        assert finish is not None and "attention group 7" in finish.message
        await transfer(pair, 2, PROMPT)

    play(lambda: RankPair(ONE, ParallelSizes(2)), scenario)


def test_a_grant_waits_until_every_rank_has_copied_what_stood_in_its_pages() -> None:
    """A rank that is behind has not read its pages yet; what comes after the grant must not overtake it."""

    async def scenario(pair: RankPair) -> None:
        followers = pair.workers[1].followers
        going_on = followers.stall()
        sequence = pair.submit(1, PROMPT)
        await pair.until(lambda: sequence.state is State.GRANTED)
        finish = Finish(FinishKind.ABORT, message="enough", http_status=499)
        pair.decode.post(lambda now: pair.decode.core.abort(sequence, finish, now))
        await pair.until(lambda: 1 in pair.decode.finishes)
        for _ in range(3):
            await asyncio.sleep(0)
        assert pair.decode.said == []
        going_on.set()
        await pair.until(lambda: len(pair.decode.said) == 2)
        assert [type(message) for message in pair.decode.said] == [Grant, Abort]
        await transfer(pair, 2, PROMPT)

    play(lambda: RankPair(ONE, ParallelSizes(2)), scenario)


def test_a_peer_that_cannot_be_reached_fails_its_rooms_with_the_reason() -> None:
    async def scenario(pair: RankPair) -> None:
        peer, hello = pair.workers[1].address, pair.workers[1].hello()
        ranks = tuple(
            msgspec.structs.replace(rank, endpoint=msgspec.structs.replace(rank.endpoint, kind="shm"))
            for rank in hello.ranks
        )
        pair.prefill.exchange.peer_joined(peer, msgspec.structs.replace(hello, ranks=ranks))
        pair.submit(1, PROMPT)
        await pair.until(lambda: 1 in pair.prefill.finishes)
        finish = pair.prefill.finishes[1]
        assert finish is not None and "The peer's transport is shm, ours is tcp" in finish.message
        pair.prefill.exchange.peer_joined(peer, hello)
        await transfer(pair, 2, PROMPT)
        pair.prefill.exchange.peer_lost(peer, "it went away")
        pair.submit(3, PROMPT)
        await pair.until(lambda: 3 in pair.prefill.finishes)

    play(lambda: RankPair(ParallelSizes(2), ParallelSizes(4)), scenario)


@pytest.mark.parametrize(
    ("prefill", "decode"), [((1, 1), (1, 1)), ((4, 1), (1, 1)), ((1, 1), (2, 1)), ((2, 1), (4, 1))]
)
def test_check_mode_finds_damage_on_any_rank_and_nothing_where_there_is_none(
    prefill: tuple[int, int], decode: tuple[int, int]
) -> None:
    async def scenario(pair: RankPair) -> None:
        await transfer(pair, 1, PROMPT)
        (commit,) = (message for message in pair.prefill.said if isinstance(message, Commit))
        assert len(commit.digest) == 8, "a checksum for each page"
        for rank, kv in enumerate(pair.workers[1].kvs):
            room = 2 + rank
            sequence = pair.submit(room, PROMPT)
            await pair.until(lambda sequence=sequence: sequence.state is State.GRANTED)
            # Before prefill's turn comes: what it writes last stands there; so the damage is done as it commits.
            damaged = sequence.staging[0].start
            take = pair.decode.exchange.peer_said

            def hurt(peer: str, message: Message, kv=kv, damaged=damaged, take=take) -> None:
                if isinstance(message, Commit):
                    kv.staging[damaged, 0, 0, 0, 0, 0] += 1
                take(peer, message)

            pair.decode.exchange.peer_said = hurt
            await pair.until(lambda room=room: room in pair.decode.finishes)
            pair.decode.exchange.peer_said = take
            finish = pair.decode.finishes[room]
            assert finish is not None and "damaged" in finish.message
        await transfer(pair, 9, PROMPT)

    sizes = ParallelSizes(*prefill), ParallelSizes(*decode)
    play(lambda: RankPair(*sizes, checks=True), scenario)


def test_checksums_do_not_depend_on_attention_groups() -> None:
    async def scenario(pair: RankPair) -> None:
        await transfer(pair, 1, PROMPT)
        (commit,) = (message for message in pair.prefill.said if isinstance(message, Commit))
        assert len(commit.digest) == 8

    for prefill, decode in ((ParallelSizes(2, 2), ONE), (ONE, ParallelSizes(2, 2))):
        play(partial(RankPair, prefill, decode, checks=True), scenario)
