"""Ranked splits: against published cases, by hand, and properties that hold for any load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.sizing.bandwidth import Carrier, Links
from pdpanel.panel.sizing.gpus import GPUS
from pdpanel.panel.sizing.measured import BUNDLED_ON_CPU, Measured
from pdpanel.panel.sizing.model import facts_of_config
from pdpanel.panel.sizing.split import Bound, Fleet, Load, Split, Suggestion
from pdpanel.panel.sizing.suggest import suggest

QWEN3_32B_FP8 = {
    "num_hidden_layers": 64, "hidden_size": 5120, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 25600, "vocab_size": 151936, "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8"},
}  # fmt: skip
NICS = Links(400)


def measured(prefill: float, decode: float, batch: int = 1) -> Measured:
    """A worker of `prefill` and, at one batch, `decode` tokens per second."""
    return Measured(prefill, ((batch, decode),))


def by_measurement(
    models: Mapping[str, Any], speeds: Measured, gpus: int, load: Load, links: Links | None = None
) -> Suggestion:
    facts = facts_of_config(models["SmolLM2-135M"].config)
    return suggest(facts, load, Fleet(gpus, (1,), links), measured=speeds, keep=50)


def test_aiconfigurators_published_case_comes_out_the_same() -> None:
    """Its user guide: Qwen3-32B-FP8, 32 H200, 3000 + 512 tokens, TTFT 1000 ms, TPOT 10 ms: 4 x (4P tp1 + 1D tp4).

    It gives 914 output tokens/s of a GPU, and 1.43 times what it has without disaggregation. It does not let requests
    wait, and caps what it predicts; a queue costs more here and the links less.
    """
    load = Load(3000, 512, ttft_ms=1000, itl_ms=10)
    answer = suggest(facts_of_config(QWEN3_32B_FP8), load, Fleet(32, links=NICS), GPUS["h200"])
    top = answer.splits[0].capacity.value
    same = next(split for split in answer.splits if (split.prefill_tp, split.decode_tp) == (1, 4))
    assert (same.prefill, same.decode) == (16, 4)
    assert same.capacity.value == pytest.approx(top, rel=0.01)
    assert top * 512 / 32 == pytest.approx(914, rel=0.2)
    assert top / answer.unified.capacity.value == pytest.approx(1.43, rel=0.1)
    assert answer.unified.decode_tp == 4


def test_aiconfigurators_other_case_differs_by_what_it_takes_for_a_prompt() -> None:
    """Its README: 4000 tokens of which 500 are cached, 500 out, TTFT 300 ms, TPOT 10 ms: 4 x (2P tp2 + 1D tp4).

    It takes 296 ms for such a prompt on two GPUs, which leaves no time to wait, and 203 ms on one GPU in its other
    case. Here two GPUs take half of that, so fewer prefill GPUs are needed and decode gets the rest: the same sizes of
    workers, at another ratio.
    """
    load = Load(3500, 500, ttft_ms=300, itl_ms=10)
    answer = suggest(facts_of_config(QWEN3_32B_FP8), load, Fleet(32, links=NICS), GPUS["h200"])
    sizes = [(split.prefill_tp, split.decode_tp) for split in answer.splits[:2]]
    assert (2, 4) in sizes
    assert answer.splits[0].capacity.value * 500 / 32 == pytest.approx(685, rel=0.2)


def test_dynamos_published_case_comes_out_the_same_among_its_sizes_of_workers() -> None:
    """Dynamo's guide: 8 H200, 4000 + 500 tokens, TTFT 600 ms, TPOT 25 ms, vLLM 0.12: 2P tp2 + 1D tp4.

    It takes 453 ms for the prompt on two GPUs, so that one GPU cannot keep the 600 ms. Here one GPU can, and workers
    of one GPU, which need no all-reduce, come out 7 % better.
    """
    load, facts = Load(4000, 500, ttft_ms=600, itl_ms=25), facts_of_config(QWEN3_32B_FP8)
    best = suggest(facts, load, Fleet(8, (2, 4, 8), NICS), GPUS["h200"]).splits[0]
    assert (best.name, best.prefill_tp, best.decode_tp) == ("2P1D", 2, 4)
    free = suggest(facts, load, Fleet(8, links=NICS), GPUS["h200"]).splits
    assert (free[0].prefill_tp, free[1].name, free[1].prefill_tp) == (1, "2P1D", 2)
    assert free[0].capacity.value == pytest.approx(free[1].capacity.value * 1.07, rel=0.01)


def test_a_mixture_over_nodes_gives_its_gpus_to_prefill(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["DeepSeek-V3"].config)
    answer = suggest(facts, Load(2000, 100), Fleet(96, (8,), NICS), GPUS["h200"])
    best = answer.splits[0]
    assert best.gpus == 96
    assert best.prefill > best.decode
    assert "2P1D is better than 1P2D" in answer.balance


@pytest.mark.parametrize(
    ("decode", "names", "bound", "word"),
    [
        (100.0, ["1P2D", "2P1D"], Bound.DECODE, "1P2D is better than 2P1D"),
        (1600.0, ["2P1D", "1P2D"], Bound.PREFILL, "2P1D is better than 1P2D"),
    ],
)
def test_the_slower_role_gets_the_third_worker(
    decode: float, names: list[str], bound: Bound, word: str, models: Mapping[str, Any]
) -> None:
    # A prompt of 1000 tokens takes a second; an answer has 100 steps.
    answer = by_measurement(models, measured(1000, decode / 4), 3, Load(1000, 101))
    assert [split.name for split in answer.splits] == names
    assert answer.splits[0].bound is bound
    assert word in answer.balance
    assert bound.capitalize() in answer.splits[0].verdict


def test_equal_roles_are_a_tie_that_is_explained(models: Mapping[str, Any]) -> None:
    answer = by_measurement(models, measured(1000, 100), 3, Load(1000, 101))
    assert {split.name for split in answer.splits} == {"1P2D", "2P1D"}
    assert answer.splits[0].capacity.value == pytest.approx(1)
    assert "tie" in answer.splits[1].ranked
    assert "do the same" in answer.balance
    assert "Balanced" in by_measurement(models, measured(1000, 100), 4, Load(1000, 101)).splits[0].verdict


def test_numbers_by_hand_with_a_wanted_rate(models: Mapping[str, Any]) -> None:
    # A prompt takes 0.5 s, a step at any batch up to 10 takes 0.1 s at batch 10; 20 steps.
    speeds = Measured(2000, ((10, 100),))
    answer = by_measurement(models, speeds, 2, Load(1000, 21, rate=1.0))
    split = answer.splits[0]
    assert (split.name, split.meets) == ("1P1D", True)
    assert split.capacity.value == pytest.approx(2)
    assert split.rate.value == 1
    assert split.ttft is not None
    assert split.itl is not None
    # Half busy: half a service time of waiting.
    assert split.ttft.value == pytest.approx(500 + 250)
    assert split.itl.value == pytest.approx(100)
    # Two workers that do both: 0.5 s of prompt and 20 x 0.1 / 10 s of decoding for each request.
    assert answer.unified.capacity.value == pytest.approx(2 / 0.7)


def test_a_rate_that_cannot_be_served_is_said_and_its_queue_has_no_length(models: Mapping[str, Any]) -> None:
    split = by_measurement(models, measured(1000, 1000), 2, Load(1000, 101, rate=5)).splits[0]
    assert not split.meets
    assert split.ttft is None
    assert split.rate.value == pytest.approx(1)
    assert "of the 5 requests/s wanted" in split.verdict


def test_goals_cost_throughput_and_are_kept(models: Mapping[str, Any]) -> None:
    facts, fleet = facts_of_config(models["Llama-3.1-8B"].config), Fleet(4, (1, 2), NICS)
    free = suggest(facts, Load(2000, 300), fleet, GPUS["h100"])
    tight = suggest(facts, Load(2000, 300, ttft_ms=150, itl_ms=8), fleet, GPUS["h100"])
    assert tight.splits[0].capacity.value < free.splits[0].capacity.value
    for split in (tight.splits[0], tight.unified):
        assert split.ttft is not None
        assert split.itl is not None
        assert split.ttft.value <= 150.01
        assert split.itl.value <= 8.001


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        (Load(2000, 300, itl_ms=0.5), "Cannot keep 0.5 ms between tokens"),
        (Load(2000, 300, ttft_ms=1), "Cannot keep 1 ms to the first token"),
    ],
)
def test_a_goal_out_of_reach_is_said(load: Load, sentence: str, models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    answer = suggest(facts, load, Fleet(2, (1,), NICS), GPUS["h100"])
    assert not answer.splits[0].meets
    assert sentence in answer.splits[0].verdict
    assert "keep the goals" in answer.comparison


def test_thin_links_bound_the_transfer(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-70B"].config)
    slow = Links(10, carrier=Carrier.TCP)
    split = suggest(facts, Load(4000, 50), Fleet(8, (4,), slow), GPUS["h100"]).splits[0]
    assert split.bound is Bound.TRANSFER
    assert "more or faster NICs" in split.verdict
    assert split.capacity.value == pytest.approx(4 * slow.speed.value / split.figures["KV of one prompt"].value)


def test_one_output_token_needs_no_decoding(models: Mapping[str, Any]) -> None:
    answer = by_measurement(models, measured(1000, 10), 4, Load(1000, 1))
    assert answer.splits[0].name == "3P1D"
    assert answer.splits[0].itl is None
    assert answer.splits[0].capacity.value == pytest.approx(3)
    assert answer.unified.capacity.value == pytest.approx(4)


def test_one_gpu_can_only_do_both(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    answer = suggest(facts, Load(1000, 100), Fleet(1, (1,), NICS), GPUS["h100"])
    assert answer.splits == ()
    assert answer.unified.name == "1 unified"
    assert "takes 2 GPUs or more" in answer.balance


def test_the_bundled_engine_on_a_cpu(models: Mapping[str, Any]) -> None:
    answer = by_measurement(models, BUNDLED_ON_CPU, 4, Load(256, 64))
    assert {split.name for split in answer.splits} == {"1P3D", "2P2D", "3P1D"}
    # 256 tokens take 0.595 s of prefill, 63 steps 0.371 s of a full batch: the ratio is 1.6.
    assert answer.splits[0].name == "2P2D"
    assert "1.61 prefill to 1 decode" in answer.balance


def test_workers_that_share_cores(models: Mapping[str, Any]) -> None:
    """A prompt of 100 tokens takes 1 s of a core, 11 - 1 tokens 1 s more: two cores serve one request a second."""
    facts, speeds = facts_of_config(models["SmolLM2-135M"].config), measured(100, 10)
    load = Load(100, 11)
    answer = suggest(facts, load, Fleet(4, (1,), cores=2), measured=speeds, keep=50)
    rates = {split.name: split.capacity.value for split in answer.splits}
    assert rates == pytest.approx({"1P1D": 1, "1P2D": 1, "2P1D": 1, "2P2D": 1, "1P3D": 1, "3P1D": 1})
    assert answer.unified.capacity.value == pytest.approx(1)
    one = suggest(facts, load, Fleet(4, (1,), cores=1), measured=speeds, keep=50)
    assert {split.bound for split in one.splits} == {Bound.CORES}
    assert {split.capacity.value for split in one.splits} == {0.5}
    assert "shared cores 0.5" in one.splits[0].capacity.formula
    assert "The workers share 1 of the CPU's cores" in " ".join(one.splits[0].assumes)
    many = suggest(facts, load, Fleet(4, (1,), cores=64), measured=speeds, keep=50)
    alone = suggest(facts, load, Fleet(4, (1,)), measured=speeds, keep=50)
    assert many.splits[0].name == alone.splits[0].name == "2P2D"
    with pytest.raises(ConfigError, match="--cores"):
        Fleet(4, cores=0)


def test_workers_must_divide_the_heads_and_hold_the_model(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-70B"].config)
    sizes = {split.decode_tp for split in suggest(facts, Load(1000, 100), Fleet(16), GPUS["h100"], keep=99).splits}
    assert sizes == {2, 4, 8}
    with pytest.raises(ConfigError, match=r"141\.1 GB of weights"):
        suggest(facts, Load(1000, 100), Fleet(16, (1,)), GPUS["h100"])
    odd = facts_of_config(models["SmolLM2-135M"].config)
    with pytest.raises(ConfigError, match="divides its 9 attention heads"):
        suggest(odd, Load(10, 10), Fleet(8, (2, 4)), GPUS["h100"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Load(0, 1),
        lambda: Load(1, 0),
        lambda: Load(1, 1, rate=0),
        lambda: Load(1, 1, ttft_ms=float("nan")),
        lambda: Load(1, 1, itl_ms=-1),
        lambda: Fleet(0),
        lambda: Fleet(10**9),
        lambda: Fleet(1, ()),
        lambda: Fleet(1, (0,)),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_neither_device_nor_measurement_is_refused(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["SmolLM2-135M"].config)
    with pytest.raises(ConfigError, match="--gpu"):
        suggest(facts, Load(1, 1), Fleet(2))
    with pytest.raises(ConfigError, match="keep"):
        suggest(facts, Load(1, 1), Fleet(2), GPUS["h100"], keep=0)


@settings(deadline=None)
@given(st.floats(50, 5000), st.floats(5, 5000), st.integers(2, 40), st.integers(1, 3000), st.integers(2, 500))
def test_the_best_split_of_equal_workers_is_rate_matched(
    models: Mapping[str, Any], prefill: float, decode: float, gpus: int, prompt: int, output: int
) -> None:
    """With x prefill and y decode workers, x of one rate stands nearest to y of the other."""
    best = by_measurement(models, measured(prefill, decode), gpus, Load(prompt, output)).splits[0]
    one, other = prefill / prompt, decode / (output - 1)
    assert best.prefill + best.decode <= gpus
    assert best.capacity.value == pytest.approx(min(best.prefill * one, best.decode * other))
    every = [min(count * one, (gpus - count) * other) for count in range(1, gpus)]
    assert best.capacity.value >= max(every) / 1.011
    ideal = gpus * other / (one + other)
    if 1 <= ideal <= gpus - 1 and max(every) == best.capacity.value:
        assert abs(best.prefill - ideal) <= 1


LOADS = st.builds(
    Load,
    st.integers(1, 20_000),
    st.integers(1, 4000),
    st.none() | st.floats(0.01, 1000),
    st.none() | st.floats(1, 5000),
    st.none() | st.floats(0.5, 200),
)
NAMES = st.sampled_from(
    ("SmolLM2-135M", "Llama-3.1-8B", "gpt-oss-120b", "Mixtral-8x7B", "DeepSeek-V3", "Qwen3.5-397B-A17B", "Falcon-7B")
)


def consistent(split: Split, load: Load, gpus: int) -> None:
    assert split.gpus <= gpus
    assert 0 <= split.rate.value <= split.capacity.value * (1 + 1e-9)
    assert load.rate is None or split.rate.value <= load.rate
    assert split.verdict
    assert split.rate.value == 0 or split.batch >= 1
    if split.meets and split.rate.value:
        assert load.ttft_ms is None or (split.ttft is not None and split.ttft.value <= load.ttft_ms * 1.001)
        assert load.itl_ms is None or split.itl is None or split.itl.value <= load.itl_ms * 1.001
    if split.meets and load.rate is not None:
        assert split.rate.value == load.rate
    # By Little's law a decode worker's batch is what comes in, times how long it stays.
    if split.itl is not None and split.decode and split.batch > 1:
        stay = (load.output - 1) * split.itl.value / 1e3
        assert split.batch - 1 <= split.rate.value / split.decode * stay * 1.001


@settings(max_examples=60, deadline=None)
@given(NAMES, LOADS, st.integers(1, 64), st.sampled_from(tuple(GPUS)), st.none() | st.floats(1, 800))
def test_any_load_is_answered_or_refused(
    models: Mapping[str, Any], name: str, load: Load, gpus: int, gpu: str, nic: float | None
) -> None:
    facts = facts_of_config(models[name].config)
    try:
        answer = suggest(facts, load, Fleet(gpus, links=Links(nic) if nic else None), GPUS[gpu], keep=5)
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    for split in (*answer.splits, answer.unified):
        consistent(split, load, gpus)
    assert [split.meets for split in answer.splits] == sorted((split.meets for split in answer.splits), reverse=True)


@settings(max_examples=40, deadline=None)
@given(NAMES, LOADS, st.integers(2, 32), st.floats(1, 4))
def test_better_hardware_never_serves_less(
    models: Mapping[str, Any], name: str, load: Load, gpus: int, times: float
) -> None:
    facts, gpu = facts_of_config(models[name].config), GPUS["h200"]

    def served(device: Any = gpu, links: Links = NICS, count: int = gpus) -> tuple[float, float]:
        answer = suggest(facts, load, Fleet(count, links=links), device, keep=1)
        best = answer.splits[0].capacity.value if answer.splits else 0.0
        return best, answer.unified.capacity.value

    try:
        split, unified = served()
    except ConfigError:
        return
    faster = replace(gpu, memory_speed=gpu.memory_speed * times)
    for better in (
        served(faster),
        served(replace(gpu, memory_bytes=gpu.memory_bytes * times)),
        served(links=Links(400 * times)),
        served(count=gpus + 1),
    ):
        # Rates within one per cent are a tie, and the tie goes to the shorter delay.
        assert better[0] >= split / 1.011
        assert better[1] >= unified / 1.011
