"""Decoding one step ahead gives what step by step gives, whatever the core asks for next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.gpu.ahead import AheadDecoder
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import DecodeRow
from pdpanel.engine.request import SamplingParams

VOCAB = 512
GREEDY = SamplingParams(temperature=0.0)
KV = cast("KVCache", None)


def after(token: int, position: int) -> int:
    """The token that the pretended model likes best."""
    return (token * 31 + position * 7 + 3) % VOCAB


class Launches:
    """A pretended model; remembers which token's KV stands in which place."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.kv: dict[tuple[int, int], int] = {}
        self.bad: set[int] = set()

    def __call__(self, rows: Sequence[DecodeRow], ids: torch.Tensor | None, kv: Any) -> torch.Tensor:
        tokens = [row.token for row in rows] if ids is None else ids.tolist()
        self.sizes.append(len(rows))
        logits = torch.zeros((len(rows), VOCAB))
        for at, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            self.kv[row.slot, row.position] = token
            logits[at, after(token, row.position)] = float("nan") if row.key in self.bad else 9.0
        return logits


def row(key: int, token: int, position: int, *, slot: int | None = None, goes_on: bool = True) -> DecodeRow:
    return DecodeRow(key, token, position, key * 1000 if slot is None else slot, goes_on, GREEDY, 1)


def test_the_next_step_is_there_when_it_is_asked_for() -> None:
    launches = Launches()
    decoder = AheadDecoder(launches)
    first = decoder.decode([row(1, 5, 10), row(2, 6, 20)], KV) or []
    assert first == [after(5, 10), after(6, 20)]
    assert launches.sizes == [2, 2]  # the step that was asked for and the one ahead
    second = decoder.decode([row(1, first[0], 11), row(2, first[1], 21)], KV)
    assert second == [after(first[0], 11), after(first[1], 21)]
    assert launches.sizes == [2, 2, 2]


def test_who_has_ended_is_left_out_and_who_has_joined_is_computed_alone() -> None:
    launches = Launches()
    decoder = AheadDecoder(launches)
    first = decoder.decode([row(1, 5, 10), row(2, 6, 20), row(3, 7, 30)], KV)
    assert first is not None
    rows = [row(4, 8, 40), row(3, first[2], 31), row(1, first[0], 11)]
    assert decoder.decode(rows, KV) == [after(one.token, one.position) for one in rows]
    assert launches.sizes == [3, 3, 1, 3]


def test_a_sequence_whose_slot_moved_is_computed_again() -> None:
    launches = Launches()
    decoder = AheadDecoder(launches)
    (token,) = decoder.decode([row(1, 5, 10)], KV) or []
    moved = row(1, token, 11, slot=7)
    assert decoder.decode([moved], KV) == [after(token, 11)]
    assert launches.kv[7, 11] == token


def test_nothing_runs_ahead_of_a_last_token_or_when_it_must_not() -> None:
    launches = Launches()
    assert AheadDecoder(launches).decode([row(1, 5, 10, goes_on=False)], KV) == [after(5, 10)]
    assert AheadDecoder(launches, ahead=False).decode([row(1, 5, 10)], KV) == [after(5, 10)]
    assert launches.sizes == [1, 1]


def test_rows_without_usable_logits_are_left_to_the_caller() -> None:
    launches = Launches()
    decoder = AheadDecoder(launches)
    launches.bad = {2}
    assert decoder.decode([row(1, 5, 10), row(2, 6, 20)], KV) is None
    launches.bad = set()
    assert decoder.decode([row(1, 5, 10)], KV) == [after(5, 10)]
    launches.bad = {3}  # breaks in the step ahead alone, and its sequence has ended by then
    found = decoder.decode([row(1, 5, 10), row(3, 6, 20, goes_on=False)], KV)
    assert found is None


@settings(max_examples=60)
@given(st.data())
def test_any_course_of_events_gives_the_tokens_and_the_kv_of_step_by_step(data: st.DataObject) -> None:
    launches = Launches()
    decoder = AheadDecoder(launches)
    sequences: dict[int, DecodeRow] = {}
    keys = iter(range(1, 100))
    for _ in range(data.draw(st.integers(1, 12))):
        for key in data.draw(st.sets(st.sampled_from(sorted(sequences)))) if sequences else set[int]():
            del sequences[key]
        for _ in range(data.draw(st.integers(0 if sequences else 1, 2))):
            key = next(keys)
            sequences[key] = row(key, key, 10, goes_on=data.draw(st.booleans()))
        if data.draw(st.integers(0, 5)) == 0:  # one moves; a move copies what was computed, not what ran ahead
            key = data.draw(st.sampled_from(sorted(sequences)))
            old = sequences[key]
            sequences[key] = row(key, old.token, old.position, slot=old.slot + 1, goes_on=old.goes_on)
        asked = data.draw(st.permutations(sorted(sequences)))
        rows = [sequences[key] for key in asked]
        found = decoder.decode(rows, KV)
        assert found is not None and found == [after(one.token, one.position) for one in rows]
        for one, token in zip(rows, found, strict=True):
            assert launches.kv[one.slot, one.position] == one.token
            goes_on = data.draw(st.booleans())
            sequences[one.key] = row(one.key, token, one.position + 1, slot=one.slot, goes_on=goes_on)
