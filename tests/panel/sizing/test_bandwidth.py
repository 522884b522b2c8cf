"""KV that a load sends, against published transfers and against what links carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.sizing.bandwidth import Carrier, Links, Wanted, link_of_devices, prompt_bytes, transfer_of
from pdpanel.panel.sizing.model import facts_of_config
from pdpanel.panel.sizing.parallelism import Parallelism
from simulated_host import make_nic, make_port, read


def test_the_bytes_of_published_transfers(models: Mapping[str, Any]) -> None:
    # Mooncake's page on SGLang: 12.62 GB for 32,768 tokens with TP 8, where four KV heads are on eight GPUs.
    facts = facts_of_config(models["Qwen3-235B-A22B"].config)
    sent = prompt_bytes(facts, 32_768, "bf16", Parallelism(8))
    assert sent.value == pytest.approx(12.62e9, rel=0.001)
    assert "2 times the KV itself" in " ".join(sent.assumes)
    # Mooncake's page on vLLM: 4.50 GB, in binary units, for 32,768 tokens.
    facts = facts_of_config(models["Qwen3-8B"].config)
    assert prompt_bytes(facts, 32_768, "bf16", Parallelism(8)).value == 4.5 * (1 << 30)


def test_the_published_time_of_a_transfer(models: Mapping[str, Any]) -> None:
    # 12.62 GB in 76.78 ms through 4 x 400 Gb/s at 82.2 % of the line rate.
    facts = facts_of_config(models["Qwen3-235B-A22B"].config)
    links = Links(400, 4, efficiency=0.822)
    transfer = transfer_of(facts, Wanted(1, 32_768), links, links, parallel=Parallelism(8))
    assert transfer.time.value == pytest.approx(76.78, rel=0.001)


def test_copies_of_the_attention_spare_the_copies_of_latent_kv(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["DeepSeek-V3"].config)
    assert prompt_bytes(facts, 100, "bf16", Parallelism(8)).value == 8 * 100 * 70_272
    assert prompt_bytes(facts, 100, "bf16", Parallelism(8, attention_dp=8)).value == 100 * 70_272


def test_only_the_window_is_sent(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["gpt-oss-120b"].config)
    sent = prompt_bytes(facts, 1000)
    assert sent.value == 18 * 2 * 8 * 64 * 2 * (128 + 1000)
    assert "only the window" in " ".join(sent.assumes)


def test_a_load_by_hand(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    prefill, decode = Links(100, 2, efficiency=0.5), Links(100, 1, efficiency=0.5)
    transfer = transfer_of(facts, Wanted(10, 1000), prefill, decode, prefill_workers=2, decode_workers=3)
    assert transfer.prompt.value == 131_072_000
    assert transfer.needed.value == 1_310_720_000
    assert transfer.needed_per_prefill.value == 655_360_000
    assert transfer.given_per_prefill.value == 12.5e9
    assert transfer.given_per_decode.value == 6.25e9
    assert transfer.bottleneck == "decode NICs"
    assert transfer.use.value == pytest.approx(1_310_720_000 / (3 * 6.25e9))
    assert transfer.most.value == pytest.approx(3 * 6.25e9 / 131_072_000)
    assert transfer.time.value == pytest.approx(131_072_000 / 6.25e9 * 1000)
    assert transfer.fits
    assert transfer.verdict.startswith("The links carry it")
    assert "100 Gb/s x 125,000,000 B x 0.5" in transfer.given_per_decode.formula


def test_tcp_is_the_bottleneck_where_rdma_is_none(models: Mapping[str, Any]) -> None:
    facts, load = facts_of_config(models["Llama-3.1-70B"].config), Wanted(20, 4000)
    rdma = transfer_of(facts, load, Links(400), Links(400))
    tcp = transfer_of(facts, load, Links(400, carrier=Carrier.TCP), Links(400, carrier=Carrier.TCP))
    assert rdma.fits
    assert not tcp.fits
    assert "Too much for the links" in tcp.verdict
    assert "TCP" in " ".join(tcp.given_per_decode.assumes)
    tight = transfer_of(facts, Wanted(rdma.most.value * 0.8, 4000), Links(400), Links(400))
    assert "tight spot" in tight.verdict


def test_links_of_chosen_nics_are_as_fast_as_the_slowest() -> None:
    # Values of nic_probe; no hardware stands behind them.
    fast, slow = (
        make_nic("mlx5_0", ports=(make_port(rate_gbps=read(400.0)),)),
        make_nic("mlx5_1", ports=(make_port(rate_gbps=read(200.0)),)),
    )
    links = link_of_devices([fast, slow])
    assert links == Links(200, 2)
    assert link_of_devices([]) is None
    assert link_of_devices([make_nic("mlx5_2", ports=(make_port(state=read("DOWN"), rate_gbps=read(10.0)),))]) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Links(0),
        lambda: Links(float("inf")),
        lambda: Links(100, 0),
        lambda: Links(100, efficiency=1.5),
        lambda: Wanted(-1, 10),
        lambda: Wanted(float("nan"), 10),
        lambda: Wanted(1, 0),
    ],
)
def test_what_is_no_link_or_load_is_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_no_workers_are_refused(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    with pytest.raises(ConfigError, match="decode"):
        transfer_of(facts, Wanted(1, 1), Links(100), Links(100), decode_workers=0)


@settings(deadline=None)
@given(
    st.floats(0, 1e4),
    st.integers(1, 100_000),
    st.floats(1, 800),
    st.floats(1, 800),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_bytes_are_conserved_and_the_busier_side_decides(
    models: Mapping[str, Any], rate: float, prompt: int, sends: float, takes: float, prefills: int, decodes: int
) -> None:
    facts = facts_of_config(models["Qwen3-8B"].config)
    transfer = transfer_of(
        facts, Wanted(rate, prompt), Links(sends), Links(takes), prefill_workers=prefills, decode_workers=decodes
    )
    total = transfer.needed.value
    assert transfer.needed_per_prefill.value * prefills == pytest.approx(total)
    assert transfer.needed_per_decode.value * decodes == pytest.approx(total)
    carried = min(prefills * transfer.given_per_prefill.value, decodes * transfer.given_per_decode.value)
    assert transfer.use.value == pytest.approx(total / carried)
    assert transfer.most.value * transfer.prompt.value == pytest.approx(carried)
    assert transfer.fits == (rate <= transfer.most.value) or transfer.use.value == pytest.approx(1)
