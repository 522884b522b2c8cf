"""How workers of the bundled engine share the cores of a host: prefill takes what decode leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pdpanel.engine.arguments import parse_server_arguments
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import Role
from pdpanel.panel.plan import plan

PAIR: Mapping[str, Any] = {"prefill": {"count": 1}, "decode": {"count": 1}}
UNIFIED: Mapping[str, Any] = {"unified": {"count": 2}}


def argvs(fields: Mapping[str, Any], cores: int = 2) -> dict[Role, Sequence[str]]:
    made = plan(parse_deployment({"model": "m", **fields}), HostFacts(node="n1", cores=cores, python="python3"), None)
    return {spec.role: spec.argv for spec in made.processes}


def test_prefill_has_all_cores_and_lets_decode_go_first_which_gives_way_to_many_prompts() -> None:
    found = argvs(PAIR)
    prefill = parse_server_arguments(found[Role.PREFILL][3:])
    assert (prefill.threads, prefill.yield_to_prefill) == (2, False) and prefill.niceness > 0
    decode = parse_server_arguments(found[Role.DECODE][3:])
    assert (decode.threads, decode.niceness, decode.yield_to_prefill) == (2, 0, True)


@pytest.mark.parametrize(("count", "cores", "threads"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (4, 2, 1)])
def test_decode_workers_share_all_cores(count: int, cores: int, threads: int) -> None:
    found = argvs({"prefill": {"count": 1}, "decode": {"count": count}}, cores)
    decode = parse_server_arguments(found[Role.DECODE][3:])
    prefill = parse_server_arguments(found[Role.PREFILL][3:])
    assert (decode.threads, prefill.threads) == (threads, cores)


@pytest.mark.parametrize(("fields", "cores"), [(UNIFIED, 2), (PAIR, 1)])
def test_nobody_gives_way_where_nothing_is_to_be_shared(fields: Mapping[str, Any], cores: int) -> None:
    for role, argv in argvs(fields, cores).items():
        if role is not Role.ROUTER:
            config = parse_server_arguments(argv[3:])
            assert (config.niceness, config.yield_to_prefill) == (0, False)


def test_what_a_person_says_of_the_cores_holds() -> None:
    own = {
        "prefill": {"count": 1, "flags": {"threads": 1, "niceness": 0}},
        "decode": {"count": 1, "flags": {"threads": 1, "yield-to-prefill": False}},
    }
    found = argvs(own)
    prefill = parse_server_arguments(found[Role.PREFILL][3:])
    assert (prefill.threads, prefill.niceness) == (1, 0)
    decode = parse_server_arguments(found[Role.DECODE][3:])
    assert (decode.threads, decode.yield_to_prefill) == (1, False)


def test_unified_workers_can_be_told_to_mix_their_steps() -> None:
    mixed = {**UNIFIED, "workers": {"flags": {"enable-mixed-chunk": True, "chunked-prefill-size": 128}}}
    config = parse_server_arguments(argvs(mixed)[Role.UNIFIED][3:])
    assert config.enable_mixed_chunk and config.chunked_prefill_size == 128
