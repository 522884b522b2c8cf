"""Who may take part in a worker, and who is missing: in words with both values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pdpanel.engine.config import ServerConfig
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.parallel.agreement import MeetingPlace, Member, compare, missing, place_of, ranks_of, terms_of

CONFIG = ServerConfig("m", tp_size=4, nnodes=2, dist_init_addr="10.0.0.1:5000")
VERSIONS = {"pdpanel": "1", "torch": "2"}


def member(rank: int, config: ServerConfig = CONFIG, host: str = "b", **versions: str) -> Member:
    return Member(rank, rank // 2, 100 + rank, host, terms_of(config, VERSIONS | versions))


FIRST = member(0, host="a")


def refusal(*members: Member) -> ConfigError:
    *others, last = members
    problem = compare(FIRST, others, last)
    assert problem is not None
    return problem


def test_ranks_that_were_started_alike_take_part() -> None:
    assert compare(FIRST, [member(1)], member(2)) is None


@pytest.mark.parametrize(
    ("change", "field", "theirs", "ours"),
    [
        ({"page_size": 32}, "--page-size", "32", "16"),
        ({"tp_size": 8}, "--tp-size", "8", "4"),
        ({"nnodes": 4}, "--nnodes", "4", "2"),
        ({"attn_dp_size": 2}, "--attn-dp-size", "2", "1"),
        ({"max_total_tokens": 64}, "--max-total-tokens", "64", "8192"),
        ({"kv_cache_dtype": "float16"}, "--kv-cache-dtype", "float16", "auto"),
        ({"moe_a2a_backend": "gloo"}, "--moe-a2a-backend", "gloo", "none"),
    ],
)
def test_a_difference_names_the_argument_both_values_and_the_ranks(
    change: dict[str, object], field: str, theirs: str, ours: str
) -> None:
    error = refusal(member(2, replace(CONFIG, **change)))
    assert (error.field, error.value) == (field, theirs)
    assert f"rank 2 on node 1 (b) was started with it, and rank 0 (a) with {ours}" in error.problem


def test_several_differences_are_named_together() -> None:
    error = refusal(member(3, replace(CONFIG, page_size=32, dtype="float16")))
    named = {error.field, *(word.strip(",;") for word in error.problem.split() if word.startswith("--"))}
    assert named == {"--page-size", "--dtype"}


def test_versions_have_to_be_the_same() -> None:
    error = refusal(member(2, torch="3"))
    assert (error.field, error.value) == ("version of torch", "3")
    assert "with 2" in error.problem


def test_what_concerns_a_node_alone_may_differ() -> None:
    own = replace(
        CONFIG,
        model_path="/elsewhere",
        host="10.0.0.2",
        port=4,
        disaggregation_bootstrap_port=5,
        disaggregation_ib_device="mlx5_1",
        node_rank=1,
        threads=3,
        base_gpu_id=2,
        log_level="debug",
        api_key="x",
    )
    assert compare(FIRST, [], member(2, own)) is None


def test_two_nodes_with_one_number() -> None:
    error = refusal(member(2, host="b"), member(2, host="c"))
    assert (error.field, error.value) == ("--node-rank", 1)
    assert "b and c" in error.problem


def test_who_is_missing_is_named_with_its_node_and_the_time() -> None:
    error = missing(CONFIG, [member(1)], 60.2)
    assert error is not None
    assert "ranks 2, 3 of node 1 did not come within 60.2 s" in error.problem
    assert "--node-rank 1 with --dist-init-addr 10.0.0.1:5000" in error.remedy
    assert missing(CONFIG, [member(1), member(2), member(3)], 1.0) is None
    alone = missing(replace(CONFIG, nnodes=1, dist_init_addr=""), [member(1), member(2)], 3.0)
    assert alone is not None and "rank 3 of node 0" in alone.problem and "--dist-init-addr" not in alone.remedy


def test_nodes_have_their_ranks_one_after_the_other() -> None:
    assert [ranks_of(CONFIG, node) for node in range(2)] == [range(2), range(2, 4)]
    assert place_of(CONFIG) == MeetingPlace("10.0.0.1", 5000)
    assert place_of(replace(CONFIG, nnodes=1)) is None
    assert place_of(replace(CONFIG, dist_init_addr="[fd00::1]:5")) == MeetingPlace("fd00::1", 5)
