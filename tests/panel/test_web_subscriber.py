from __future__ import annotations

import pytest
from pdpanel.panel.web.subscriber import Subscriber, Wish, read_wish


def test_wish_is_read() -> None:
    assert read_wish({"select": "r"}) == Wish("r", None, 3600)
    assert read_wish({"select": None, "groups": ["kv", "cpu", "kv"], "window_s": 300}) == Wish(
        None, frozenset({"kv", "cpu"}), 300
    )
    assert read_wish({"select": 5}).run is None
    assert [read_wish({"select": "r", "window_s": value}).window_s for value in (-1, 1e9)] == [30, 3600]


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {"groups": []},
        {"select": "r", "groups": "kv"},
        {"select": "r", "groups": ["x"] * 65},
        {"select": "r", "window_s": "5"},
        {"select": "r", "window_s": float("nan")},
        {"select": "r", "window_s": True},
    ],
)
def test_other_words_are_refused(said: object) -> None:
    with pytest.raises(ValueError):
        read_wish(said)


def test_who_does_not_keep_up_is_dropped() -> None:
    one = Subscriber(limit=2)
    one.put("1")
    one.put("2")
    assert not one.dropped.is_set()
    one.put("3")
    assert one.dropped.is_set()
