from __future__ import annotations

import pytest
from pdpanel.panel.runner.series import SeriesInfo
from pdpanel.panel.web.series_views import SeriesCache, to_series


@pytest.mark.parametrize(
    ("info", "group", "label", "total"),
    [
        (SeriesInfo("link/prefill-0>decode-1/kv_bytes_per_s", "t", "B/s", "s"), "kv", "prefill-0 → decode-1", False),
        (SeriesInfo("run/kv_bytes_per_s", "t", "B/s", "s", total=True), "kv", "total", True),
        (SeriesInfo("proc/decode-0/running", "t", "requests", "s", group="queues"), "queues", "decode-0", False),
        (SeriesInfo("nic/mlx5_1:1/tx_bytes_per_s", "t", "B/s", "s", group="nic"), "nic", "mlx5_1:1", False),
        (SeriesInfo("gpu/3/util_percent", "t", "%", "s", group="gpu"), "gpu", "GPU 3", False),
        (SeriesInfo("host/cpu_percent", "t", "%", "s", group="cpu"), "cpu", "host", True),
        (SeriesInfo("proc/a/new_thing", "t", "x", "s", group="other"), "other", "a", False),
    ],
)
def test_series_is_named(info: SeriesInfo, group: str, label: str, total: bool) -> None:
    view = to_series(info)
    assert view is not None
    assert (view.group, view.label, view.total, view.unit) == (group, label, total, info.unit)


@pytest.mark.parametrize("key", ["proc/decode-0/unheard_of", "proc/prefill-0/generated_tokens_per_s"])
def test_other_series_are_left_out(key: str) -> None:
    assert to_series(SeriesInfo(key, "t", "u", "s")) is None


def test_translation_is_made_once_and_again_when_the_list_changes() -> None:
    cache = SeriesCache()
    infos = {"run/kv_bytes_per_s": SeriesInfo("run/kv_bytes_per_s", "t", "B/s", "s", limit=5.0)}
    first = cache.of("r", infos)
    assert [one.limit for one in first] == [5.0]
    assert cache.of("r", dict(infos)) is first
    # An answer without the list means the one before.
    assert cache.of("r", {}) is first
    infos["proc/a/running"] = SeriesInfo("proc/a/running", "t", "requests", "s")
    assert len(cache.of("r", infos)) == 2
    for place in range(40):
        cache.of(f"r{place}", infos)
    assert cache.of("r", infos) is not first


def test_a_version_stands_for_a_list_that_is_left_out() -> None:
    cache = SeriesCache()
    assert cache.version("run") == ""
    infos = {"run/kv_bytes_per_s": SeriesInfo("run/kv_bytes_per_s", "KV", "B/s", "test", group="kv")}
    views = cache.of("run", infos, "one")
    assert cache.version("run") == "one"
    assert cache.of("run", {}, "one") is views
    assert cache.keys("run") == frozenset(infos)
    # The same series under another number are not translated again.
    assert cache.of("run", dict(infos), "two") is views
    assert cache.version("run") == "two"
