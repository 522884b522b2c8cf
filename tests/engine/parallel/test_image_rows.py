"""Images in a model spread over ranks: its logits are those of the whole one, and rank 0 alone has the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.parallel.collective import Collective
from pdpanel.engine.parallel.image_rows import RankRows
from pdpanel.engine.parallel.layout import ParallelSizes, shards_of
from pdpanel.engine.parallel.sharded import ShardedLlama
from pdpanel.engine.vision.embeddings import FIRST_IMAGE_ID, EmbeddingStore, Rows
from pdpanel.engine.vision.executor import ImageLlama
from random_weights import SHAPES, random_weights
from rank_world import RankWorld

SHAPE = SHAPES["llama tied, heads of 9 and 3"]
ROWS = 4


class Pictures(EmbeddingStore):
    """A store that has any image, and counts who asks."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def rows(self, ids: Sequence[int]) -> Rows:
        self.asked.append(len(ids))
        made = [np.random.default_rng(one - FIRST_IMAGE_ID).standard_normal(SHAPE.hidden) for one in ids]
        return np.array(made, np.float32)


def cache(shape: ModelShape) -> KVCache:
    kv = KVCache(shape, pages=24, page_size=16, dtype=torch.float32, staging=False)
    kv.slots.zero_()
    return kv


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[int, RankWorld]]:
    made = {size: RankWorld(size, real=False) for size in (1, 2, 4)}
    yield made
    for world in made.values():
        world.close()


@pytest.mark.parametrize("sizes", [ParallelSizes(1), ParallelSizes(2), ParallelSizes(4, attn_dp=2)])
def test_images_reach_every_rank(worlds: dict[int, RankWorld], sizes: ParallelSizes) -> None:
    world, weights = worlds[sizes.tp], random_weights(SHAPE)
    shards, store = shards_of(SHAPE, sizes), Pictures()

    def make(one: Collective) -> ShardedLlama:
        images = RankRows(one, SHAPE.hidden, store if one.rank == 0 else None)
        return ShardedLlama(SHAPE, weights, shards, one, 256, images=images)

    executors = world.run(make)
    caches = [cache(executor.part) for executor in executors]
    whole, kv = ImageLlama(SHAPE, weights, 256, Pictures()), cache(SHAPE)
    first, second = ([FIRST_IMAGE_ID + 100 * image + row for row in range(ROWS)] for image in range(2))
    last = sizes.attn_dp - 1
    steps = [
        [(0, [5, *first, 6, *second[:2]], 0, False), (1, [7, *second], 0, True)],  # a chunk ends within an image
        [(0, [*second[2:], 9], 8, True)],
        [(0, [3], 11, True), (1, [4], 5, True)],  # no image
    ]
    with torch.inference_mode():
        for step in steps:
            expected = whole.forward([TokenSpan(ids, start, 64 * s, out) for s, ids, start, out in step], kv)
            spans = [TokenSpan(ids, start, 64 * s, out, (0, last)[s]) for s, ids, start, out in step]
            found, *_ = world.run(lambda one, spans=spans: executors[one.rank].forward(spans, caches[one.rank]))
            torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)
    assert store.asked == [10, 2], "once a step, and by rank 0 alone"


def test_only_the_first_rank_has_images(worlds: dict[int, RankWorld]) -> None:
    with pytest.raises(AssertionError, match="rank 0"):
        RankRows(worlds[2].join("another")[1], 8, Pictures())
