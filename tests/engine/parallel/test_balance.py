"""Which group a request goes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.parallel.balance import Balancer, LoadBalance, resolved

LOADS = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@pytest.mark.parametrize("has_rooms", [True, False])
def test_auto_is_what_sglang_takes(has_rooms: bool) -> None:
    expected = LoadBalance.FOLLOW_BOOTSTRAP_ROOM if has_rooms else LoadBalance.ROUND_ROBIN
    assert resolved(LoadBalance.AUTO, has_rooms=has_rooms) is expected
    assert resolved(LoadBalance.TOTAL_TOKENS, has_rooms=has_rooms) is LoadBalance.TOTAL_TOKENS


def test_rooms_are_not_followed_where_there_are_none() -> None:
    with pytest.raises(ConfigError, match=r"--load-balance-method.*round_robin or total_tokens"):
        resolved(LoadBalance.FOLLOW_BOOTSTRAP_ROOM, has_rooms=False)


@given(LOADS)
def test_round_robin_takes_turns_whatever_the_load(tokens: list[int]) -> None:
    balancer = Balancer(LoadBalance.ROUND_ROBIN)
    count = len(tokens)
    assert [balancer.choose(0, tokens) for _ in range(2 * count)] == [*range(count)] * 2


@given(st.lists(LOADS, min_size=1, max_size=9))
def test_total_tokens_takes_a_group_with_fewest(history: list[list[int]]) -> None:
    balancer = Balancer(LoadBalance.TOTAL_TOKENS)
    for tokens in history:
        assert tokens[balancer.choose(0, tokens)] == min(tokens)


def test_groups_with_equally_few_tokens_take_turns() -> None:
    balancer = Balancer(LoadBalance.TOTAL_TOKENS)
    assert [balancer.choose(0, [4, 4, 9, 4]) for _ in range(6)] == [0, 1, 3, 0, 1, 3]


@given(st.integers(1, 2**63 - 1), LOADS, LOADS)
def test_both_halves_agree_on_a_room_without_talking(room: int, mine: list[int], theirs: list[int]) -> None:
    """With as many groups each; their loads and what came before do not matter."""
    theirs = (theirs * len(mine))[: len(mine)]
    here, there = Balancer(LoadBalance.FOLLOW_BOOTSTRAP_ROOM), Balancer(LoadBalance.FOLLOW_BOOTSTRAP_ROOM)
    there.choose(room + 1, theirs)
    assert here.choose(room, mine) == there.choose(room, theirs) == room % len(mine)
