"""The executor of GPUs beside the CPU's own, on a tiny random model."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pdpanel.engine.gpu.executor import CudaExecutor
from pdpanel.engine.gpu.graphs import DecodeGraphs, graph_sizes
from pdpanel.engine.gpu.paged_attention import PagedAttention
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.llama import Llama
from tiny_gpu_model import SHAPE, Replays, random_weights


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def pair(device: torch.device, *, paged: bool, most_rows: int = 8) -> tuple[Llama, CudaExecutor]:
    model = Llama(SHAPE, random_weights(SHAPE, device), 256)
    kernels = PagedAttention(SHAPE, page_size=16, most_rows=most_rows, device=device) if paged else None
    reason = "" if paged else "the package triton cannot be imported"
    executor = CudaExecutor(model, device, page_size=16, longest=256, paged=kernels, most_rows=most_rows, reason=reason)
    return Llama(SHAPE, random_weights(SHAPE, torch.device("cpu")), 256), executor


def caches(device: torch.device) -> tuple[KVCache, KVCache]:
    cpu, gpu = (
        KVCache(SHAPE, pages=24, page_size=16, dtype=torch.float32, staging=False, device=where, spare_pages=1)
        for where in (None, device)
    )
    for kv in (cpu, gpu):  # whoever looks back over what nobody wrote is found out
        kv.slots[:, :, :, : 24 * 16].fill_(float("nan"))
    return cpu, gpu


def ids(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, SHAPE.vocab, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def both(models: tuple[Llama, CudaExecutor], kvs: tuple[KVCache, KVCache], spans: list[TokenSpan]) -> torch.Tensor:
    """Runs the spans on both and returns the GPU's logits, which are the CPU's but for rounding."""
    expected = models[0].forward(spans, kvs[0])
    found = models[1].forward(spans, kvs[1])
    torch.testing.assert_close(found.cpu(), expected, atol=2e-4, rtol=2e-4)
    return found


STEPS = [
    [TokenSpan(ids(40), 0, 0, True), TokenSpan(ids(9, 1), 0, 64, True)],
    [TokenSpan(ids(30, 2), 40, 0, True)],
    [TokenSpan([3], 70, 0, True), TokenSpan([4], 9, 64, True)],
    [TokenSpan([5], 71, 0, True), TokenSpan(ids(20, 3), 0, 128, False), TokenSpan([6], 10, 64, True)],
    [TokenSpan([7], 72, 0, False), TokenSpan([8], 11, 64, True), TokenSpan([9], 20, 128, True)],
    [TokenSpan([1], 12, 64, False), TokenSpan([2], 13, 64, False), TokenSpan([3], 14, 64, True)],
    [TokenSpan(ids(4, 4), 0, 192, False)],
]


@pytest.mark.parametrize("recorded", [False, True])
def test_chunks_and_tokens_in_any_mixture_give_the_cpus_logits(kernel_device, recorded: bool) -> None:
    models, kvs = pair(kernel_device, paged=True), caches(kernel_device)
    recorder = Replays()
    if recorded:
        models[1].record(kvs[1], recorder, 4)
    for spans in STEPS:
        both(models, kvs, spans)
    assert recorder.recorded == (3 if recorded else 0)
    assert recorder.replayed == ([1, 0, 0] if recorded else [])  # the largest was recorded first: 4, 2, 1


def test_without_triton_single_tokens_go_the_way_of_prompts() -> None:
    device = torch.device("cpu")
    models, kvs = pair(device, paged=False), caches(device)
    models[1].record(kvs[1], Replays(), 4)
    for spans in STEPS:
        both(models, kvs, spans)
    info = models[1].info
    assert (info.executor, info.weights) == ("cuda", "float32") and info.attention.startswith("sdpa")
    assert "triton" in info.reason and "no CUDA graphs" in info.reason


def test_more_single_tokens_than_a_launch_takes_go_in_several(kernel_device) -> None:
    models, kvs = pair(kernel_device, paged=True, most_rows=2), caches(kernel_device)
    prompts = [TokenSpan(ids(5, n), 0, 32 * n, False) for n in range(5)]
    both(models, kvs, prompts)
    both(models, kvs, [TokenSpan([n], 5, 32 * n, n != 1) for n in range(5)])


def test_padding_rows_change_nothing_and_write_to_the_spare_page_alone(kernel_device) -> None:
    models, kvs = pair(kernel_device, paged=True), caches(kernel_device)
    both(models, kvs, STEPS[0])
    both(models, kvs, STEPS[1])  # whoever decodes looks back over what was computed before, all of it
    before = kvs[1].slots.clone()
    alone = models[1].forward(STEPS[2][:1], kvs[1])
    unpadded = kvs[1].slots.clone()
    kvs[1].slots.copy_(before)
    graphs = DecodeGraphs(
        lambda inputs: models[1]._decode(inputs, kvs[1]),
        Replays(),
        most=8,
        width=SHAPE.hidden,
        dtype=torch.float32,
        device=kernel_device,
        spare_page=kvs[1].spare_page,
    )
    graphs._sizes = (8,)  # so that seven rows are nobody's
    states = graphs.run([(3, 70, 0)])
    torch.testing.assert_close(models[1].logits(states), alone, atol=1e-5, rtol=1e-5)
    spare = kvs[1].spare_page * 16
    pool = slice(0, spare)
    torch.testing.assert_close(
        kvs[1].slots[:, :, :, pool], unpadded[:, :, :, pool], atol=1e-5, rtol=1e-5, equal_nan=True
    )
    assert torch.equal(kvs[1].slots[:, :, :, :70], before[:, :, :, :70])
    assert kvs[1].slots[:, :, :, spare:].abs().sum() > 0


def test_the_tap_sees_all_states_and_keeps_them(kernel_device) -> None:
    models, kvs = pair(kernel_device, paged=True), caches(kernel_device)
    models[1].record(kvs[1], Replays(), 4)
    seen: list[torch.Tensor] = []
    models[1].forward(STEPS[0], kvs[1], seen.append)
    assert seen[0].shape == (49, SHAPE.hidden)
    models[1].forward(STEPS[1], kvs[1])
    logits = models[1].forward(STEPS[2], kvs[1], seen.append)
    models[1].forward(STEPS[2][1:], kvs[1])
    torch.testing.assert_close(models[1].logits(seen[1]), logits)


def test_sizes_of_graphs_are_dense_where_it_pays() -> None:
    assert graph_sizes(1) == (1,)
    assert graph_sizes(6) == (1, 2, 4, 6)
    assert graph_sizes(40) == (1, 2, 4, 8, 16, 24, 32, 40)
    assert graph_sizes(150)[-4:] == (120, 128, 144, 150)


def test_the_path_is_named() -> None:
    info = pair(torch.device("cpu"), paged=False)[1].info
    assert dataclasses.asdict(info)["reason"]
