"""Topologies of fault runs, and whom they strike."""

from __future__ import annotations

import random
import signal
from collections import Counter

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.bench.cases import make_cases
from pdpanel.panel.bench.image_cases import with_images
from pdpanel.panel.bench.session import deployment
from pdpanel.panel.bench.strikes import Strike, next_strike
from pdpanel.panel.bench.topology import TOPOLOGIES, Topology, topology_of
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan


def strikes(topology: Topology, turns: int = 40) -> list[Strike]:
    alive = {f"{role}-{index}": role for role, count in topology.roles.items() for index in range(count)}
    rng = random.Random(5)
    return [strike for turn in range(turns) if (strike := next_strike(rng, turn, alive, topology)) is not None]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_kind_of_process_is_struck(name: str) -> None:
    topology = TOPOLOGIES[name]
    found = strikes(topology)
    assert len(found) == 40
    assert {each.split("-")[0] for strike in found for each in strike.names} == set(topology.roles)
    assert {strike.number for strike in found} == {signal.SIGKILL, signal.SIGSTOP}
    at_followers = [strike for strike in found if strike.at_follower]
    assert all(strike.number is signal.SIGKILL for strike in at_followers)
    assert found[0].at_follower is (topology.ranks(found[0].names[0].split("-")[0]) > 1), "a short run has one, too"


def test_all_encoders_at_once_and_one_alone() -> None:
    found = strikes(TOPOLOGIES["encoders"], 8)
    sizes = Counter(strike.names for strike in found if strike.names[0].startswith("encoder"))
    assert sizes[("encoder-0", "encoder-1")] == 2
    assert sum(count for names, count in sizes.items() if len(names) == 1) == 2


def test_where_nobody_is_left_nobody_is_struck() -> None:
    pair = TOPOLOGIES["pair"]
    assert next_strike(random.Random(0), 0, {}, pair) is None
    assert next_strike(random.Random(0), 1, {"encoder-0": "encoder"}, TOPOLOGIES["encoders"]) is None
    assert strikes(topology_of("pair", "1-2"))[0].at_follower is strikes(pair)[0].names[0].startswith("decode")


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_each_topology_can_be_planned(name: str) -> None:
    topology = TOPOLOGIES[name]
    wanted = deployment(
        "faults", topology.roles, model=topology.model, transport="tcp", fields=topology.fields, env=topology.env
    )
    made = plan(wanted, elsewhere(), None)
    workers = [process for process in made.processes if process.role in topology.roles]
    assert Counter(process.role for process in workers) == topology.roles
    for process in workers:
        ranks = topology.ranks(process.role)
        assert ("--tp-size" in process.argv) is (ranks > 1)
        assert process.env.get("SGLANG_VLM_CACHE_SIZE_MB") == topology.env.get("SGLANG_VLM_CACHE_SIZE_MB")


@pytest.mark.parametrize(
    ("name", "ranks", "says"),
    [("ring", "", "use one of pair, groups"), ("groups", "2-1", "has its own ranks"), ("pair", "0-1", "such as 2-1")],
)
def test_a_topology_that_is_none_is_refused(name: str, ranks: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        topology_of(name, ranks)


def test_prompts_fit_a_small_context() -> None:
    for context in (2048, 4096):
        texts = [str(case.body) for case in make_cases(24, context=context)]
        assert context / 2 < max(map(len, texts)) < context
    assert make_cases(24, context=8192) == make_cases(24)


def test_images_stand_in_prompts_of_every_route_that_takes_them() -> None:
    plain = make_cases(24, context=2048)
    cases = with_images(plain)
    assert cases == with_images(plain) and len({case.name for case in cases}) == 24
    for case, before in zip(cases, plain, strict=True):
        images = case.body.get("image_data", [])
        if case.route == "/v1/chat/completions":
            *parts, text = case.body["messages"][0]["content"]
            images = [part["image_url"]["url"] for part in parts]
            assert text["text"] == before.body["messages"][0]["content"]
        assert (case == before) is (case.route == "/v1/completions")
        assert case == before or (1 <= len(images) <= 2 and all(one.startswith("data:image/png") for one in images))
    assert len({url for case in cases for url in case.body.get("image_data", [])}) > 8
