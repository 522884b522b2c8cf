from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.request import SamplingParams
from pdpanel.engine.sampler import SamplingError, mask_stop_tokens, sample, uniform

LOGITS = st.lists(st.floats(-20, 20, width=32) | st.sampled_from([0.0, 1.0, -math.inf]), min_size=1, max_size=12)
PARAMS = st.builds(
    SamplingParams,
    temperature=st.floats(0.1, 3),
    top_k=st.sampled_from([-1, 1, 2, 3, 5, 100]),
    top_p=st.floats(0, 1),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)


PINNED = (0.5347999387192756, 0.836331103634572, 0.447789560471637)


def kept_tokens(logits: list[float], params: SamplingParams) -> tuple[list[int], dict[int, float]]:
    """The slow, obvious rule: rank everything, walk down, keep what all three filters allow."""
    row = np.array(logits, dtype=np.float32)
    weights = np.exp((row - row.max()) / np.float32(params.temperature))
    weight = {token: float(weights[token]) for token in range(len(logits))}
    total = math.fsum(weight.values())
    kept: list[int] = []
    before = 0.0
    for rank, token in enumerate(sorted(weight, key=lambda token: (-weight[token], token))):
        allowed_k = params.top_k == -1 or rank < params.top_k
        allowed_p = params.top_p >= 1 or before <= params.top_p * total
        if allowed_k and allowed_p and weight[token] >= params.min_p:
            kept.append(token)
        before += weight[token]
    return sorted(kept), weight


def draw_one(logits: list[float], params: SamplingParams, seed: int = 0, position: int = 0) -> int:
    return sample(torch.tensor([logits]), [params], [seed], [position])[0]


def usable(logits: list[float]) -> bool:
    return max(logits) > -math.inf


class TestRule:
    @given(LOGITS.filter(usable), PARAMS, st.integers(0, 1000))
    def test_the_draw_is_the_inverse_of_the_kept_distribution(
        self, logits: list[float], params: SamplingParams, seed: int
    ) -> None:
        kept, weight = kept_tokens(logits, params)
        if params.greedy:
            kept = [logits.index(max(logits))]
        target = uniform(seed, 7) * math.fsum(weight[token] for token in kept)
        running = 0.0
        expected = kept[-1]
        for token in kept:
            running += weight[token]
            if running > target:
                expected = token
                break
        assert draw_one(logits, params, seed, 7) == expected

    @pytest.mark.parametrize("spread", [0.01, 1.0, 4.0, 40.0])
    @pytest.mark.parametrize(
        "params",
        [
            SamplingParams(),
            SamplingParams(top_p=0.3),
            SamplingParams(top_p=0.9),
            SamplingParams(top_p=0.999),
            SamplingParams(top_k=40),
            SamplingParams(top_k=40, top_p=0.5),
            SamplingParams(top_k=2500, top_p=0.99, min_p=0.001),
            SamplingParams(min_p=0.1),
            SamplingParams(top_p=0),
        ],
    )
    def test_a_large_vocabulary_follows_the_same_rule(self, params: SamplingParams, spread: float) -> None:
        """Thresholds, blocks and ties only matter beyond a few tokens; coarse steps make many equal logits."""
        rows = np.round(np.random.default_rng(3).normal(0, spread, 3000), 1).astype(np.float32)
        kept, weight = kept_tokens(rows.tolist(), params)
        shares = np.array([weight[token] for token in kept])
        running = np.cumsum(shares)
        for position in range(50):
            expected = kept[int(np.searchsorted(running, uniform(5, position) * running[-1], side="right"))]
            assert draw_one(rows.tolist(), params, 5, position) == expected

    @pytest.mark.parametrize("params", [SamplingParams(temperature=0), SamplingParams(top_k=1, temperature=5)])
    def test_greedy_takes_the_lowest_of_the_likeliest(self, params: SamplingParams) -> None:
        assert draw_one([0.0, 3.0, 1.0, 3.0], params) == 1

    @pytest.mark.parametrize("temperature", [1e-3, 1e-6, 1e-12, 1e-300])
    def test_a_temperature_near_zero_is_greedy(self, temperature: float) -> None:
        logits = [0.0, 2.0, 1.9, -3.0]
        params = SamplingParams(temperature=temperature)
        assert {draw_one(logits, params, 0, position) for position in range(100)} == {1}

    @pytest.mark.parametrize(
        "params",
        [
            SamplingParams(temperature=0.7),
            SamplingParams(temperature=1.5, top_k=4),
            SamplingParams(top_p=0.8),
            SamplingParams(min_p=0.2),
        ],
    )
    def test_draws_have_the_right_frequencies(self, params: SamplingParams) -> None:
        logits = [1.0, 0.5, 2.0, -1.0, 0.0, 1.7]
        kept, weight = kept_tokens(logits, params)
        draws = 8000
        rows = torch.tensor([logits]).expand(draws, -1)
        tokens = sample(rows, [params] * draws, [11] * draws, range(draws))
        counts = np.bincount(tokens, minlength=len(logits))
        expected = np.array([weight[t] if t in kept else 0.0 for t in range(len(logits))])
        expected *= draws / expected.sum()
        assert counts[expected == 0].sum() == 0
        seen = expected > 0
        chi_square = float(((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum())
        # 99.9th percentile for 5 degrees of freedom, the most that occurs here; seeds are fixed.
        assert chi_square < 20.5

    def test_a_token_of_no_weight_is_never_drawn(self) -> None:
        logits = [-math.inf, -200.0, 0.0, -math.inf]
        assert {draw_one(logits, SamplingParams(), 0, position) for position in range(200)} == {2}


class TestKey:
    def test_numbers_lie_in_the_unit_interval_and_spread_evenly(self) -> None:
        for numbers in (
            np.array([uniform(seed, 3) for seed in range(-2000, 2000)]),
            np.array([uniform(3, position) for position in range(4000)]),
        ):
            assert 0 <= numbers.min() and numbers.max() < 1
            counts, _ = np.histogram(numbers, 20, (0, 1))
            # 99.9th percentile of chi-square for 19 degrees of freedom.
            assert ((counts - 200.0) ** 2 / 200).sum() < 43.8
            assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.06

    def test_the_hash_is_fixed(self) -> None:
        """Workers of different versions replay each other's requests, so these values never change."""
        assert uniform(0, 0) == PINNED[0]
        assert uniform(42, 17) == PINNED[1]
        assert uniform(-1, 5) == uniform(2**64 - 1, 5) == PINNED[2]

    @given(st.integers(0, 2**32), st.data())
    def test_neither_the_batch_nor_the_order_of_rows_matters(self, seed: int, data: st.DataObject) -> None:
        random = np.random.default_rng(seed)
        count = 6
        logits = torch.from_numpy(random.normal(0, 2, (count, 700)).astype(np.float32))
        params = [data.draw(PARAMS) for _ in range(count)]
        seeds, positions = [random.integers(0, 9, count).tolist() for _ in range(2)]
        alone = [sample(logits[i : i + 1], params[i : i + 1], [seeds[i]], [positions[i]])[0] for i in range(count)]
        order = data.draw(st.permutations(range(count)))
        together = sample(
            logits[list(order)],
            [params[i] for i in order],
            [seeds[i] for i in order],
            [positions[i] for i in order],
        )
        assert together == [alone[i] for i in order]

    def test_the_number_of_threads_does_not_matter(self) -> None:
        logits = torch.from_numpy(np.random.default_rng(1).normal(0, 3, (4, 49152)).astype(np.float32))
        params = [SamplingParams(), SamplingParams(top_p=0.9), SamplingParams(top_k=9), SamplingParams(temperature=0)]
        before = torch.get_num_threads()
        try:
            drawn = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                drawn.append([sample(logits, params, [1, 2, 3, 4], [position] * 4) for position in range(20)])
        finally:
            torch.set_num_threads(before)
        assert drawn[0] == drawn[1]

    def test_seed_and_position_both_change_the_draw(self) -> None:
        logits = [0.0] * 64
        assert len({draw_one(logits, SamplingParams(), seed, 0) for seed in range(50)}) > 20
        assert len({draw_one(logits, SamplingParams(), 0, position) for position in range(50)}) > 20

    def test_the_logits_stay_as_they_are(self) -> None:
        logits = torch.tensor([[1.0, 2.0, 3.0]])
        sample(logits, [SamplingParams(top_p=0.5)], [0], [0])
        assert logits.tolist() == [[1.0, 2.0, 3.0]]

    def test_no_rows_give_no_tokens(self) -> None:
        assert sample(torch.empty(0, 5), [], [], []) == []


class TestBadLogits:
    @pytest.mark.parametrize("params", [SamplingParams(), SamplingParams(temperature=0), SamplingParams(top_p=0.5)])
    @pytest.mark.parametrize("bad", [[0.0, math.nan], [math.inf, 0.0], [-math.inf, -math.inf]])
    def test_they_are_an_error_that_names_the_request(self, bad: list[float], params: SamplingParams) -> None:
        logits = torch.tensor([[0.0, 1.0], bad, [1.0, 0.0]])
        with pytest.raises(SamplingError, match="for request-b") as caught:
            sample(logits, [params] * 3, [0] * 3, [0] * 3, ["request-a", "request-b", "request-c"])
        assert caught.value.rows == (1,)

    def test_without_names_the_row_is_named(self) -> None:
        with pytest.raises(SamplingError, match="row 0, row 1"):
            sample(torch.full((2, 3), math.nan), [SamplingParams()] * 2, [0, 0], [0, 0])


class TestMask:
    def test_masked_tokens_cannot_be_drawn_and_other_rows_can(self) -> None:
        logits = torch.zeros(3, 4)
        mask_stop_tokens(logits, [0, 2], [[1, 2], [3, 99, -1]])
        hidden = (logits == -math.inf).nonzero().tolist()
        assert hidden == [[0, 1], [0, 2], [2, 3]]
        drawn = {sample(logits, [SamplingParams()] * 3, [0] * 3, [i] * 3)[0] for i in range(100)}
        assert drawn == {0, 3}

    def test_nothing_to_mask_changes_nothing(self) -> None:
        logits = torch.zeros(1, 2)
        mask_stop_tokens(logits, [], [])
        mask_stop_tokens(logits, [0], [[]])
        assert logits.tolist() == [[0.0, 0.0]]
