"""Experts on several ranks: every backend makes of the same tokens what one rank makes of them, and transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.expert_shape import ExpertShape
from pdpanel.engine.model.experts import ExpertWeights, OwnExperts
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.parallel.collective import Collective
from pdpanel.engine.parallel.experts import BACKENDS, ExpertExchange, RoutedTokens, open_exchange
from pdpanel.engine.parallel.layout import ParallelSizes, check_sizes, shards_of
from pdpanel.engine.parallel.placement import Placement, placed_again, renumbered, spread
from pdpanel.engine.parallel.sharded import ShardedLlama
from pdpanel.engine.parallel.transfer_rows import TransferRows
from rank_world import RankWorld
from tiny_moe import TinyMoe, make_tiny_moe
from transports import open_end

EXPERTS = ExpertShape(7, 3, 12, normalised=True)
HIDDEN = 16
GLOO = 0
TRANSPORT = "shm"  # Mooncake's own carries rows in test_rows.py


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[int, RankWorld]]:
    """Ranks whose collectives cost next to nothing, but for two, on which the backend `gloo` is gloo."""
    made = {size: RankWorld(size, real=False) for size in (1, 2, 3)} | {GLOO: RankWorld(2)}
    yield made
    for world in made.values():
        world.close()


def layer(dtype: torch.dtype) -> ExpertWeights:
    made = torch.Generator().manual_seed(1)
    router, gate_up, down = (
        torch.randn(sizes, generator=made).to(dtype)
        for sizes in ((EXPERTS.count, HIDDEN), (EXPERTS.count, 24, HIDDEN), (EXPERTS.count, HIDDEN, 12))
    )
    return ExpertWeights(router, tuple(range(EXPERTS.count)), tuple(gate_up), tuple(down))


def open_on(collective: Collective, backend: str, shape: ExpertShape, placement: Placement, width: int):
    endpoint = open_end(TRANSPORT) if backend == "mooncake" else None
    return open_exchange(backend, shape, collective, placement, row_width=width, endpoint=endpoint, timeout_s=20.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_sum_over_ranks_is_what_one_rank_makes(
    worlds: dict[int, RankWorld], ranks: int, backend: str, dtype: torch.dtype
) -> None:
    """Passes of many tokens, few and none; experts that have none of them; a placement with gaps."""
    placement = renumbered(placed_again(spread(EXPERTS.count, ranks + 1), {1}))
    weights = layer(dtype)
    passes = [torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(count)) for count in (40, 1, 0, 2)]

    def work(collective: Collective) -> list[torch.Tensor]:
        exchange: ExpertExchange = open_on(collective, backend, EXPERTS, placement, HIDDEN * dtype.itemsize)
        assert exchange.kind == (backend if ranks > 1 else "none")
        own = weights.pick(placement[collective.rank])
        made = [exchange(h.to(dtype), own) for h in passes]
        exchange.close()
        return made

    made = worlds[ranks].run(work)
    for number, h in enumerate(passes):
        expected = OwnExperts(EXPERTS)(h.to(dtype), weights)
        total = torch.stack([one[number].float() for one in made]).sum(dim=0)
        bound = 1e-4 if dtype is torch.float32 else 0.15
        torch.testing.assert_close(total, expected.float(), atol=bound, rtol=bound)


def test_more_tokens_than_an_exchange_holds_take_several(worlds: dict[int, RankWorld]) -> None:
    weights, placement = layer(torch.float32), spread(EXPERTS.count, 2)
    h = torch.randn(23, HIDDEN, generator=torch.Generator().manual_seed(3))
    row = HIDDEN * 4 + 8 * EXPERTS.per_token
    ends = [TransferRows(open_end("shm"), rank, 2, most_bytes=3 * row, timeout_s=20) for rank in range(2)]
    for end in ends:
        end.connect([each.describe() for each in ends])

    def work(collective: Collective) -> torch.Tensor:
        exchange = RoutedTokens("mooncake", EXPERTS, ends[collective.rank], placement)
        return exchange(h, weights.pick(placement[collective.rank]))

    first, second = worlds[2].run(work)
    torch.testing.assert_close(first + second, OwnExperts(EXPERTS)(h, weights), atol=1e-5, rtol=1e-5)
    assert not (first.abs().sum(dim=1).bool() & second.abs().sum(dim=1).bool()).any(), "a row is routed by one rank"
    for end in ends:
        end.close()


def test_an_unknown_backend_is_refused_with_those_there_are(worlds: dict[int, RankWorld]) -> None:
    with pytest.raises(ConfigError, match=r"--moe-a2a-backend.*deepep.*use none, gloo, mooncake"):
        open_exchange("deepep", EXPERTS, worlds[1].collectives[0], spread(7, 1))


@pytest.fixture(scope="module", params=["mixtral", "qwen3-moe, shares as they are, dense layers"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyMoe:
    return make_tiny_moe(request.param, tmp_path_factory.mktemp("model"))


def prompt() -> list[int]:
    return torch.randint(0, 256, (21,), generator=torch.Generator().manual_seed(5)).tolist()


@pytest.fixture(scope="module")
def expected(model: TinyMoe) -> list[int]:
    with torch.inference_mode():
        return model.theirs.generate(torch.tensor([prompt()]), max_new_tokens=12, do_sample=False)[0].tolist()


def greedy(executor: Llama | ShardedLlama, kv: KVCache, steps: int, tell) -> list[int]:
    """The prompt in two chunks, then token by token; `tell` makes rank 0's choice everybody's."""
    tokens = prompt()
    executor.forward([TokenSpan(tokens[:16], 0, 0, False)], kv)
    start = 16
    for _ in range(steps):
        logits = executor.forward([TokenSpan(tokens[start:], start, 0, True)], kv)
        start = len(tokens)
        tokens.append(tell(logits))
    return tokens


def spread_out(
    world: RankWorld, model: TinyMoe, backend: str, sizes: ParallelSizes, placement: Placement | None = None
) -> list[list[int]]:
    shards = shards_of(model.shape, sizes)
    assert model.shape.experts is not None
    shape, width = model.shape.experts, model.shape.hidden * 4
    placement = placement or spread(shape.count, sizes.tp)

    def work(collective: Collective) -> list[int]:
        own = placement[collective.rank] if sizes.ep > 1 else None
        layer = open_on(collective, backend, shape, placement, width) if sizes.ep > 1 else None
        executor = ShardedLlama(model.shape, model.weights, shards, collective, 256, experts=own, expert_layer=layer)
        kv = KVCache(executor.part, pages=8, page_size=16, dtype=torch.float32, staging=False)

        def tell(logits: torch.Tensor) -> int:
            choice = logits.argmax(dim=1) if collective.rank == 0 else torch.zeros(1, dtype=torch.int64)
            return int(collective.broadcast(choice))

        made = greedy(executor, kv, 12, tell)
        if layer is not None:
            layer.close()
        return made

    return world.run(work)


def test_one_rank_gives_the_tokens_of_transformers(model: TinyMoe, expected: list[int]) -> None:
    kv = KVCache(model.shape, pages=8, page_size=16, dtype=torch.float32, staging=False)
    with torch.inference_mode():
        executor = Llama(model.shape, model.weights, 256)
        assert greedy(executor, kv, 12, lambda logits: int(logits[0].argmax())) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_experts_on_two_ranks_give_the_tokens_of_transformers(
    worlds: dict[int, RankWorld], model: TinyMoe, expected: list[int], backend: str
) -> None:
    sizes = check_sizes(model.shape, ParallelSizes(2, ep=2))
    world = worlds[GLOO if backend == "gloo" else 2]
    assert spread_out(world, model, backend, sizes) == [expected] * 2


def test_a_part_of_every_expert_on_each_rank_gives_the_tokens_of_transformers(
    worlds: dict[int, RankWorld], model: TinyMoe, expected: list[int]
) -> None:
    assert spread_out(worlds[2], model, "none", check_sizes(model.shape, ParallelSizes(2))) == [expected] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_lost_rank_had_is_placed_again_with_the_same_tokens(
    worlds: dict[int, RankWorld], model: TinyMoe, expected: list[int], backend: str
) -> None:
    """Two that are left of three: experts that are no neighbours on a rank, shards of weights for two."""
    assert model.shape.experts is not None
    placement = renumbered(placed_again(spread(model.shape.experts.count, 3), {2}))
    assert any(part[-1] - part[0] >= len(part) for part in placement.values())
    assert spread_out(worlds[2], model, backend, ParallelSizes(2, ep=2), placement) == [expected] * 2


def test_sizes_come_from_the_models_own_experts(model: TinyMoe) -> None:
    assert model.shape.experts is not None
    ranks = next(ranks for ranks in (3, 4) if model.shape.experts.count % ranks)
    with pytest.raises(ConfigError, match="does not divide the model's"):
        check_sizes(model.shape, ParallelSizes(ranks, ep=ranks))
    dense = replace(model.shape, experts=None)
    with pytest.raises(ConfigError, match="the model has no experts"):
        check_sizes(dense, ParallelSizes(2, ep=2))
