"""The store of embeddings: ids of rows, what is kept, what is evicted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import CapacityError
from pdpanel.engine.vision.embeddings import FIRST_IMAGE_ID, EmbeddingStore, Rows
from pdpanel.engine.vision.shape import Processing, VisionShape

SHAPE = VisionShape(
    tower="clip",
    layers=1,
    hidden=8,
    heads=2,
    ffn=8,
    image_size=4,
    patch_size=2,
    activation="gelu",
    eps=1e-5,
    states=(1,),
    drop_first=True,
    projector_activation="gelu",
    projector_bias=True,
    text_hidden=6,
    image_token=9,
    processing=Processing(4, (0, 0), 3, (4, 4), 1.0, (), ()),
)


def rows_of(number: int) -> Rows:
    return (number + np.linspace(0, 1, SHAPE.rows * SHAPE.text_hidden).reshape(SHAPE.rows, -1)).astype(np.float32)


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "little")


def test_ids_lie_beyond_every_vocabulary_and_lead_back_to_their_rows() -> None:
    store = EmbeddingStore(SHAPE, 1 << 20)
    for number in (1, 2):
        store.put(key_of(number), rows_of(number))
    ids = [*store.ids(key_of(2))[1:], *store.ids(key_of(1))[:1]]
    assert all(FIRST_IMAGE_ID <= one < 1 << 63 for one in ids)
    assert np.array_equal(store.rows(ids), [*rows_of(2)[1:], rows_of(1)[0]])


def test_ids_are_another_process_s_own() -> None:
    ids = EmbeddingStore(SHAPE, 1 << 20).ids(key_of(1))
    assert ids != EmbeddingStore(SHAPE, 1 << 20).ids(key_of(1))
    assert len(ids) == SHAPE.rows


def test_what_is_held_stays_and_what_was_used_longest_ago_goes() -> None:
    store = EmbeddingStore(SHAPE, 3 * SHAPE.image_bytes)
    store.hold([key_of(0)])
    for number in range(3):
        store.put(key_of(number), rows_of(number))
    assert store.get(key_of(1)) is not None
    store.put(key_of(3), rows_of(3))
    assert store.missing(map(key_of, range(4))) == [key_of(2)]
    with pytest.raises(LookupError):
        store.rows(store.ids(key_of(2)))


def test_no_more_is_held_than_the_store_keeps() -> None:
    store = EmbeddingStore(SHAPE, 2 * SHAPE.image_bytes)
    store.hold([key_of(1), key_of(2)])
    store.hold([key_of(2)])
    with pytest.raises(CapacityError, match="2"):
        store.hold([key_of(3)])
    store.release([key_of(1), key_of(2)])
    store.hold([key_of(3)])
    with pytest.raises(CapacityError):
        store.hold([key_of(1)])


def test_a_request_s_images_fit_however_small_the_limit_is() -> None:
    store = EmbeddingStore(SHAPE, 0, least_images=3)
    store.hold([key_of(number) for number in range(3)])
    for number in range(3):
        store.put(key_of(number), rows_of(number))
    assert store.missing(map(key_of, range(3))) == []


@given(st.lists(st.tuples(st.sampled_from("put hold release get".split()), st.integers(0, 5)), max_size=60))
def test_held_images_are_never_lost_and_the_store_is_bounded(moves: list[tuple[str, int]]) -> None:
    store = EmbeddingStore(SHAPE, 3 * SHAPE.image_bytes)
    held: list[int] = []
    here: set[int] = set()
    for move, number in moves:
        if move == "put":
            store.put(key_of(number), rows_of(number))
            here.add(number)
        elif move == "get":
            store.get(key_of(number))
        elif move == "hold" and len({*held, number}) <= 3:
            store.hold([key_of(number)])
            held.append(number)
        elif move == "release" and number in held:
            store.release([key_of(number)])
            held.remove(number)
        missing = {one for one in range(6) if key_of(one) in store.missing([key_of(one)])}
        here -= missing - set(held)
        assert not missing & set(held) & here
        assert len(store) <= 3 + len(set(held))
