from __future__ import annotations

from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.router.config import PolicyName
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.dialects.routers import POLICIES, PREFILL_POLICIES
from pdpanel.panel.planning.fields import check_fields, set_fields
from sample_dialect import make_dialect

PAIR = {"model": "m", "engine": "sglang", "prefill": {"count": 1}, "decode": {"count": 1}}
DIALECT = make_dialect(fields=frozenset({"workers.tp"}), routers=("sglang-router", "mini_lb", "none"))


def check(**fields: Any) -> None:
    check_fields(parse_deployment(PAIR | fields), DIALECT, {"other": make_dialect("other", fields=frozenset({"nics"}))})


def test_set_fields_are_those_that_differ_from_their_defaults() -> None:
    deployment = parse_deployment(PAIR | {"decode": {"count": 1, "tp": 2, "flags": {"a": 1}}, "router": {"port": 9000}})
    assert list(set_fields(deployment)) == [
        *("engine", "model", "prefill.count"),
        *("decode.tp", "decode.flags", "decode.count", "router.port"),
    ]


def test_a_role_may_set_what_workers_may() -> None:
    check(prefill={"count": 1, "tp": 2}, workers={"tp": 2})


def test_a_field_that_means_nothing_is_refused_with_the_dialect_that_knows_it() -> None:
    with pytest.raises(ConfigError) as caught:
        check(nics=["mlx5_0"])
    assert caught.value.field == "nics"
    assert caught.value.remedy == "remove it, or use the dialect other"
    with pytest.raises(ConfigError, match=r"limits\.queue_size = 4: means nothing to the dialect like-sglang"):
        check(limits={"queue_size": 4})


def test_transports_and_routers_are_those_of_the_dialect() -> None:
    with pytest.raises(ConfigError, match="write mooncake or mooncake_tcp or nixl"):
        check(transport="tcp")
    with pytest.raises(ConfigError, match="does not speak like-sglang"):
        check(router={"kind": "vllm-router"})


def test_policies_are_those_of_the_router() -> None:
    for policy in POLICIES["sglang-router"]:
        check(router={"policy": policy})
    with pytest.raises(ConfigError) as caught:
        check(router={"policy": "power-of-2"})
    assert caught.value.field == "router.policy"
    assert caught.value.remedy.startswith("did you mean power_of_two?")
    with pytest.raises(ConfigError, match="which has no policies"):
        check(router={"kind": "mini_lb", "policy": "random"})
    with pytest.raises(ConfigError, match="is no policy of the router sglang-router; the router sglang-router knows"):
        check(router={"policy": "xyzzy"})


def test_bucket_is_a_policy_of_prefill_alone() -> None:
    check(router={"flags": {"prefill-policy": "bucket", "decode-policy": "random"}})
    with pytest.raises(ConfigError) as caught:
        check(router={"flags": {"decode-policy": "bucket"}})
    assert caught.value.field == "router.flags.decode-policy"


def test_the_bundled_routers_policies_are_its_own() -> None:
    assert set(POLICIES["bundled"]) == {policy.value for policy in PolicyName}


def test_a_dialect_without_routers_says_to_leave_it_out() -> None:
    with pytest.raises(ConfigError) as caught:
        check_fields(parse_deployment(PAIR | {"router": {"kind": "smg"}}), make_dialect(routers=()), {})
    assert (caught.value.field, caught.value.remedy) == ("router.kind", "leave it out: it brings its own")


def test_smg_has_policies_of_its_own() -> None:
    own = {"passthrough", "least_load", "consistent_hashing", "prefix_hash"}
    assert set(POLICIES["smg"]) - set(POLICIES["sglang-router"]) == own
    assert "bucket" in PREFILL_POLICIES["smg"] and "bucket" not in POLICIES["smg"]
