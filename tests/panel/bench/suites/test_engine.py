"""The short form of the engine suite: every kind of figure, from real processes, on a small model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from pdpanel.engine.errors import PeerError
from pdpanel.panel.bench.comparison import Comparison
from pdpanel.panel.bench.small_model import write_small_model
from pdpanel.panel.bench.suite import SuiteOptions, measure
from pdpanel.panel.bench.suites.engine_contender import Contender, Setup
from pdpanel.panel.bench.suites.engine_quality import divergence
from pdpanel.panel.config import read_config
from pdpanel.panel.runs import Runs

SHORT = SuiteOptions(short=True, rounds=1)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> list[Comparison]:
    folder = tmp_path_factory.mktemp("engine-suite")
    config = read_config(state_dir=folder / "state", cache_dir=folder / "cache", config_dir=folder / "config")
    model = write_small_model(folder / "model")
    options = SuiteOptions(short=True, rounds=1, model=str(model))
    return list(measure("engine", options, Runs(config), told.append))


def of(found: list[Comparison], case: str) -> list[Comparison]:
    return [figure for figure in found if figure.case.startswith(case)]


def test_every_kind_of_figure_comes(found: list[Comparison], told: list[str]) -> None:
    rates = [figure for figure in found if figure.metric in {"decode_tokens_per_s", "prefill_tokens_per_s"}]
    assert {figure.case for figure in rates} == {"batch=1,context=24", "batch=2,context=24", "prompt=32"}
    for case in {figure.case for figure in rates}:
        peers = [figure.peer for figure in of(rates, case)]
        assert peers[0] == "transformers fp32, 1 thread"
        assert peers[-1].startswith("the fastest peer: ")
    assert all(figure.value > 0 and (figure.peer_value or 0) > 0 for figure in rates)
    assert all("is no GGUF file" in line or "pip install" in line for line in told if "llama" in line)


def test_the_share_of_the_bandwidth_bound_is_of_single_sequences(found: list[Comparison]) -> None:
    (share,) = [figure for figure in found if figure.metric == "bandwidth_share"]
    assert share.case == "batch=1,context=24,threads=1"
    assert share.value > 0
    assert "MB of weights a step" in share.note


def test_quality_is_of_both_paths(found: list[Comparison]) -> None:
    figures = of(found, "text=64")
    assert {figure.case for figure in figures} == {"text=64,path=decode", "text=64,path=prefill"}
    for figure in figures:
        assert 0 <= figure.value <= 1, "of a small model, whose logits hardly differ"
        assert figure.goal is not None


def test_a_profile_sums_up(found: list[Comparison]) -> None:
    for case in ("profile=decode,batch=1,context=24", "profile=prefill,chunk=32"):
        parts = {figure.metric: figure.value for figure in of(found, case)}
        whole, bound = parts.pop("whole"), parts.pop("bound")
        assert math.isclose(sum(parts.values()), whole, rel_tol=1e-6)
        assert bound > 0
        assert len(parts) > 2


def test_what_cannot_be_started_is_one_sentence(tmp_path: Path) -> None:
    contender = Contender(Setup("pdpanel", 1, 1, str(tmp_path / "no-model"), str(tmp_path), 8, 0))
    try:
        with pytest.raises(PeerError, match=r"^pdpanel .*no-model"):
            contender.wait_ready()
    finally:
        contender.close()


def test_divergence_is_none_of_the_same_and_grows() -> None:
    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    assert divergence(logits, logits) == (1.0, 0.0)
    same, little = divergence(logits, logits + 0.01 * torch.arange(50) / 50)
    assert same == 1.0
    other, more = divergence(logits, -logits)
    assert other < 1.0
    assert 0 < little < more
