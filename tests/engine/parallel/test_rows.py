"""Rows between ranks: the same promises by a collective and through KV transports, and what ends an exchange."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from pdpanel.engine.errors import RankError
from pdpanel.engine.parallel.rows import CollectiveRows, RowExchange
from pdpanel.engine.parallel.transfer_rows import TransferRows
from rank_world import RankWorld
from transports import open_end

RANKS = 3
MOST = 4096


@pytest.fixture(scope="module")
def world() -> Iterator[RankWorld]:
    world = RankWorld(RANKS)
    yield world
    world.close()


def transfer_rows(backend: str, ranks: int = RANKS, timeout_s: float = 20.0) -> list[TransferRows]:
    made = [TransferRows(open_end(backend), rank, ranks, most_bytes=MOST, timeout_s=timeout_s) for rank in range(ranks)]
    for rows in made:
        rows.connect([each.describe() for each in made])
    return made


@pytest.fixture(scope="module", params=["collective", "shm", "tcp", "mooncake_tcp"])
def exchanges(request: pytest.FixtureRequest, world: RankWorld) -> Iterator[list[RowExchange]]:
    made: list[RowExchange] = []
    made += map(CollectiveRows, world.collectives) if request.param == "collective" else transfer_rows(request.param)
    yield made
    for rows in made:
        rows.close()


def message(source: int, target: int, number: int) -> torch.Tensor:
    """Of 0 bytes to `MOST`."""
    size = [0, 4, 1000, MOST][(source + 2 * target + number) % 4]
    generator = torch.Generator().manual_seed(100 * number + 10 * source + target)
    return torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator)


def test_each_rank_gets_what_each_has_for_it_time_and_again(world: RankWorld, exchanges: list[RowExchange]) -> None:
    """No rank waits for another between its exchanges: one may be a whole exchange ahead."""
    ranks = range(RANKS)

    def work(own: int) -> list[list[torch.Tensor]]:
        rows, arrived = exchanges[own], []
        for number in range(16):
            messages = [message(own, target, number) for target in ranks]
            boxes = rows.outboxes([len(one) for one in messages])
            for box, one in zip(boxes, messages, strict=True):
                box.copy_(one)
            known = [len(message(source, own, number)) for source in ranks] if number % 3 == 1 else None
            arrived.append([box.clone() for box in rows.exchange(known)])
        return arrived

    for own, arrived in enumerate(world.run(lambda collective: work(collective.rank))):
        for number, boxes in enumerate(arrived):
            for source, box in enumerate(boxes):
                assert torch.equal(box, message(source, own, number)), (own, number, source)


def test_a_rank_that_does_not_come_is_named() -> None:
    first, second = transfer_rows("shm", 2, timeout_s=0.2)
    first.outboxes([0, 8])
    with pytest.raises(RankError, match=r"Rank 0 got no rows from rank 1 within 0\.2 s"):
        first.exchange()
    first.close()
    second.close()


def test_leaving_ends_an_exchange_that_waits() -> None:
    first, second = transfer_rows("tcp", 2)
    problems: list[str] = []

    def wait() -> None:
        first.outboxes([0, 0])
        with pytest.raises(RankError) as caught:
            first.exchange()
        problems.append(str(caught.value))

    waiting = threading.Thread(target=wait)
    began = time.monotonic()
    waiting.start()
    first.close()
    waiting.join(15)
    assert not waiting.is_alive() and time.monotonic() - began < 15, "not after the timeout of 20 s"
    assert "Rank 0" in problems[0]
    second.close()


def test_a_peer_that_is_gone_is_named() -> None:
    first, second = transfer_rows("tcp", 2)
    second.close()
    first.outboxes([0, 8])
    with pytest.raises(RankError, match=r"Rank 0 could not send .* to rank 1"):
        first.exchange()
    first.close()


def test_ranks_with_other_sizes_are_refused_by_both_numbers() -> None:
    first, second = (
        TransferRows(open_end("shm"), rank, 2, most_bytes=size, timeout_s=1) for rank, size in enumerate((64, 128))
    )
    with pytest.raises(RankError, match=r"Rank 1 registered 1152 bytes .* rank 0 has 768"):
        first.connect([first.describe(), second.describe()])
    first.close()
    second.close()
