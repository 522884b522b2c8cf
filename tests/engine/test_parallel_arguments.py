"""The flags that spread a worker: SGLang's names, and refusals that say what fits."""

from __future__ import annotations

import pytest
from pdpanel.engine.arguments import parse_server_arguments
from pdpanel.engine.config import ServerConfig
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.parallel.layout import ParallelSizes

BY_ROOM = "--load-balance-method follow_bootstrap_room"


def parse(arguments: str) -> ServerConfig:
    return parse_server_arguments(["--model-path", "m", *arguments.split()])


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ("", ParallelSizes()),
        ("--tp-size 2", ParallelSizes(2)),
        ("--tp 2", ParallelSizes(2)),
        ("--tensor-parallel-size=4", ParallelSizes(4)),
        ("--tp-size 4 --dp-size 2 --enable-dp-attention", ParallelSizes(4, 2)),
        ("--tp-size 4 --attn-dp-size 4", ParallelSizes(4, 4)),
        ("--tp-size 4 --attention-data-parallel-size 2", ParallelSizes(4, 2)),
        ("--tp-size 4 --dp-size 2 --enable-dp-attention --attn-dp-size 2", ParallelSizes(4, 2)),
        ("--tp-size 2 --ep-size 2", ParallelSizes(2, 1, 2)),
        ("--tp-size 2 --moe-a2a-backend gloo", ParallelSizes(2, 1, 2)),  # as SGLang does it
        ("--tp-size 1 --dp-size 1 --ep-size 1 --nnodes 1 --node-rank 0", ParallelSizes()),
    ],
)
def test_sizes_by_flags(arguments: str, sizes: ParallelSizes) -> None:
    assert parse(arguments).sizes == sizes


def test_several_nodes() -> None:
    config = parse("--tp-size 4 --nnodes 2 --node-rank 1 --dist-init-addr 10.0.0.1:5000 --dist-timeout 9")
    assert (config.nnodes, config.node_rank, config.dist_init_addr, config.dist_timeout) == (2, 1, "10.0.0.1:5000", 9)
    other = parse("--tp-size 2 --nnodes 2 --nccl-init-addr [fd00::1]:5000")
    assert other.dist_init_addr == "[fd00::1]:5000"


@pytest.mark.parametrize("mode", ["null", "prefill", "decode"])
def test_every_worker_of_one_node_and_one_attention_group_may_go_on_without_a_rank(mode: str) -> None:
    config = parse(f"--tp-size 2 --ep-size 2 --elastic-ep-backend gloo --disaggregation-mode {mode}")
    assert (config.elastic_ep_backend, config.disaggregation_mode.value) == ("gloo", mode)


@pytest.mark.parametrize(
    ("arguments", "field", "value", "remedy"),
    [
        ("--dp-size 2", "--dp-size", "2", "--enable-dp-attention, or start 2 workers"),
        ("--tp-size 2 --enable-dp-attention", "--enable-dp-attention", "", "--attn-dp-size"),
        ("--tp-size 4 --dp-size 3 --enable-dp-attention", "--dp-size", "3", "use one of 1, 2, 4"),
        ("--tp-size 6 --attn-dp-size 4", "--attn-dp-size", "4", "use one of 1, 2, 3, 6"),
        ("--tp-size 4 --dp-size 2 --enable-dp-attention --attn-dp-size 4", "--attn-dp-size", "4", "leave one"),
        ("--tp-size 4 --ep-size 2", "--ep-size", "2", "use 1 or 4"),
        ("--ep-size 2", "--ep-size", "2", "raise --tp-size"),
        ("--ep-size 4", "--ep-size", "4", "--tp-size to 4"),
        ("--moe-a2a-backend gloo", "--moe-a2a-backend", "gloo", "--tp-size 2"),
        ("--tp-size 2 --moe-a2a-backend deepep", "--moe-a2a-backend", "deepep", "none, gloo, mooncake"),
        ("--tp-size 2 --elastic-ep-backend gloo", "--elastic-ep-backend", "gloo", "--ep-size"),
        (
            "--tp-size 2 --ep-size 2 --attn-dp-size 2 --elastic-ep-backend gloo --disaggregation-mode decode",
            "--elastic-ep-backend",
            "gloo",
            "leave --dp-size and --attn-dp-size out, or use none",
        ),
        (
            "--tp-size 2 --ep-size 2 --attn-dp-size 2 --elastic-ep-backend mooncake",
            "--elastic-ep-backend",
            "mooncake",
            "leave --dp-size and --attn-dp-size out",
        ),
        (
            "--tp-size 2 --ep-size 2 --nnodes 2 --dist-init-addr a:1 --elastic-ep-backend gloo",
            "--elastic-ep-backend",
            "gloo",
            "use --nnodes 1, or use none",
        ),
        ("--tp-size 2 --nnodes 2", "--dist-init-addr", "", "an address of node 0"),
        ("--tp-size 2 --nnodes 2 --dist-init-addr 10.0.0.1", "--dist-init-addr", "10.0.0.1", "host:port"),
        ("--tp-size 2 --nnodes 2 --dist-init-addr a:0", "--dist-init-addr", "a:0", "host:port"),
        ("--tp-size 2 --nnodes 2 --dist-init-addr a:99999", "--dist-init-addr", "a:99999", "host:port"),
        ("--tp-size 2 --nnodes 2 --dist-init-addr http://a:1", "--dist-init-addr", "http://a:1", "host:port"),
        ("--tp-size 2 --nnodes 2 --node-rank 2 --dist-init-addr a:1", "--node-rank", "2", "use 0 to 1"),
        ("--node-rank 1", "--node-rank", "1", "--nnodes 2"),
        ("--tp-size 3 --nnodes 2 --dist-init-addr a:1", "--tp-size", "3", "such as 4, or --nnodes 1, 3"),
        ("--nnodes 2 --dist-init-addr a:1", "--tp-size", "1", "such as 2"),
        ("--tp-size 0", "--tp-size", "0", "from 1"),
        ("--tp-size two", "--tp-size", "two", "from 1"),
        ("--tp-size 2 --encoder-only", "--tp-size", "2", "several encoders"),
        ("--tp-size 2 --quantization int8", "--quantization", "int8", "use none"),
        ("--dist-timeout 0", "--dist-timeout", "0", "above 0"),
        ("--load-balance-method total_requests", "--load-balance-method", "total_requests", "total_tokens"),
        (
            "--load-balance-method follow_bootstrap_room",
            "--load-balance-method",
            "follow_bootstrap_room",
            "round_robin",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(arguments: str, field: str, value: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(arguments)
    assert (caught.value.field, str(caught.value.value)) == (field, value)
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "method"),
    [
        ("--disaggregation-mode prefill", "round_robin"),
        ("--disaggregation-mode prefill --tp-size 2 --attn-dp-size 2", "follow_bootstrap_room"),
        ("--disaggregation-mode decode --tp-size 2 --attn-dp-size 2", "follow_bootstrap_room"),
        ("--tp-size 2 --attn-dp-size 2", "round_robin"),
        (
            "--disaggregation-mode prefill --tp-size 2 --attn-dp-size 2 --load-balance-method total_tokens",
            "total_tokens",
        ),
    ],
)
def test_how_groups_are_balanced(arguments: str, method: str) -> None:
    assert parse(arguments).balancing == method
