"""Joining with arrays is joining as `buckets.joined` does it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.panel.runner.bucket_join import joined_arrays
from pdpanel.panel.runner.buckets import Bucket, joined
from pdpanel.panel.runner.packing import Places
from pdpanel.panel.runner.series import SeriesInfo

KEYS = ("a", "b", "c")
VALUES = st.dictionaries(st.sampled_from(KEYS), st.floats(-1e6, 1e6, width=32), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(VALUES, st.integers(1, 120)), min_size=1, max_size=30), st.sets(st.sampled_from(KEYS)))
def test_both_ways_agree(made: list[tuple[dict[str, float], int]], wanted: set[str]) -> None:
    places = Places(SeriesInfo(key, key, "B", "test") for key in KEYS)
    plain = [
        Bucket(n, 60.0 * n, rows, found, {k: v + 1 for k, v in found.items()}) for n, (found, rows) in enumerate(made)
    ]
    packed = [(one.seq, one.t, one.rows, places.pack_bucket(one.means, one.peaks)) for one in plain]
    listed = [(place, key) for place, key in enumerate(KEYS) if key in wanted]
    ours = list(joined_arrays(packed, listed, 300.0))
    unpacked = [Bucket(seq, t, rows, *places.unpack_bucket(data)) for seq, t, rows, data in packed]
    theirs = list(joined(unpacked, 300.0))
    assert [(one.seq, one.rows) for one in ours] == [(one.seq, one.rows) for one in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.t == pytest.approx(other.t)
        assert mine.means == pytest.approx({key: value for key, value in other.means.items() if key in wanted})
        assert mine.peaks == pytest.approx({key: value for key, value in other.peaks.items() if key in wanted})


@pytest.mark.parametrize("damage", [b"", b"no bucket", b"x\x9c"])
def test_a_damaged_bucket_has_no_values(damage: bytes) -> None:
    places = Places([SeriesInfo("a", "a", "B", "test")])
    rows = [(1, 60.0, 2, damage), (2, 120.0, 2, places.pack_bucket({"a": 3.0}, {"a": 4.0}))]
    (bucket,) = joined_arrays(rows, [(0, "a"), (7, "later")], 300.0)
    assert (bucket.means, bucket.peaks) == ({"a": 3.0}, {"a": 4.0})
