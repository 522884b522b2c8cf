"""Drawing where the logits are: the same rule, and so the same tokens, as the sampler's on the CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine import sampler
from pdpanel.engine.gpu.sampling import pick
from pdpanel.engine.request import SamplingParams
from pdpanel.engine.sampler import SamplingError, sample, uniform

VOCAB = 1000  # no multiple of the block that sums go over

params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.sampled_from([-1, 1, 5, 400, 5000]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.02, 0.5]),
)


def picked(logits: torch.Tensor, wanted: list[SamplingParams], seeds: list[int], positions: list[int]) -> list[int]:
    numbers = [uniform(*at) for at in zip(seeds, positions, strict=True)]
    return pick(logits, wanted, numbers)[0].tolist()


@settings(max_examples=60)
@given(wanted=st.lists(params, min_size=1, max_size=6), seed=st.integers(0, 1 << 32), masked=st.booleans())
def test_tokens_are_the_samplers(wanted: list[SamplingParams], seed: int, masked: bool) -> None:
    made = torch.Generator().manual_seed(seed)
    logits = torch.randn((len(wanted), VOCAB), generator=made) * 3
    if masked:
        logits[:, 100:] = float("-inf")
    seeds, positions = [seed + n for n in range(len(wanted))], [7 * n for n in range(len(wanted))]
    assert picked(logits, wanted, seeds, positions) == sample(logits, wanted, seeds, positions)


def test_equal_logits_rank_by_their_id() -> None:
    logits = torch.zeros((1, VOCAB))
    wanted = [SamplingParams(temperature=1.0, top_k=3)]
    tokens = {picked(logits, wanted, [seed], [0])[0] for seed in range(60)}
    assert tokens == {0, 1, 2}


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-53])
def test_ends_of_the_unit_interval_give_tokens_that_can_be(number: float) -> None:
    logits = torch.full((1, VOCAB), float("-inf"))
    logits[0, 300:303] = torch.tensor([0.0, 1.0, -30.0])
    (token,) = pick(logits, [SamplingParams(temperature=1.0)], [number])[0].tolist()
    assert token in {300, 301, 302} and (number > 0 or token == 300)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    logits = torch.randn((5, VOCAB), generator=torch.Generator().manual_seed(1))
    wanted = [SamplingParams(temperature=t, top_p=0.9) for t in (0.0, 0.5, 1.0, 1.5, 2.0)]
    together = picked(logits, wanted, [3] * 5, [9] * 5)
    assert together == [picked(logits[n : n + 1], wanted[n : n + 1], [3], [9])[0] for n in range(5)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_rows_without_usable_logits_are_named_and_the_others_are_sound(bad: float) -> None:
    logits = torch.zeros((3, VOCAB))
    logits[1] = bad
    wanted = [SamplingParams(temperature=1.0)] * 3
    with pytest.raises(SamplingError) as caught:
        sampler._sample_there(logits, wanted, [1, 2, 3], [0, 0, 0], ["a", "b", "c"])
    assert caught.value.rows == (1,) and " b." in str(caught.value)


def test_the_sampler_brings_the_tokens_to_the_host() -> None:
    logits = torch.randn((4, VOCAB), generator=torch.Generator().manual_seed(2))
    wanted = [SamplingParams(temperature=0.0), *[SamplingParams(temperature=1.0, seed=n) for n in range(3)]]
    there = sampler._sample_there(logits, wanted, [1, 2, 3, 4], [5, 6, 7, 8], ())
    assert there == sample(logits, wanted, [1, 2, 3, 4], [5, 6, 7, 8])
