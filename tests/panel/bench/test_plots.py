"""Which charts results make, and what stands in them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.bench.charts import Bar, Group, Reach, bars_svg, reach_svg
from pdpanel.panel.bench.plots import plots_of
from pdpanel.panel.bench.records import Record, Results

SVG = "{http://www.w3.org/2000/svg}"


def record(case: str, metric: str, value: float, peer: str = "", peer_value: float | None = None) -> Record:
    ratio = None if peer_value is None else value / peer_value
    return Record(case, metric, "u", value, value, value, peer, peer_value, ratio, None, None, "")


def results(suite: str, *records: Record) -> Results:
    return Results(suite, suite, {"cpu": "<made> & up", "cores": 2}, {"rounds": 3}, records)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_bars_of_a_case_stand_together_and_the_fastest_peer_is_not_drawn_twice() -> None:
    found = plots_of(
        results(
            "engine",
            record("batch=1", "decode_tokens_per_s", 40, "transformers fp32, 2 threads", 10),
            record("batch=1", "decode_tokens_per_s", 40, "xllamacpp, 1 thread", 30),
            record("batch=1", "decode_tokens_per_s", 40, "the fastest peer: xllamacpp, 1 thread", 30),
            record("batch=1,threads=1", "decode_tokens_per_s", 22, "transformers fp32", 5),
        )
    )
    assert list(found) == ["engine-decode-tokens.svg"]
    words = texts(found["engine-decode-tokens.svg"])
    assert [word for word in words if word in {"40", "10", "30", "22", "5"}] == ["40", "10", "30"]
    assert {"pdpanel", "transformers fp32", "xllamacpp", "batch=1"} <= set(words)


def test_latency_is_drawn_by_load_for_each_prompt() -> None:
    records = [
        record(f"prompt={prompt},load={load}", "itl_mean", prompt / load, "unified-mixed", 2 * prompt / load)
        for prompt in (256, 1024)
        for load in (25, 50, 80)
    ]
    found = plots_of(results("pd", *records))
    assert list(found) == ["pd-itl-mean.svg"]
    drawn = ElementTree.fromstring(found["pd-itl-mean.svg"])
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 4
    assert len(list(drawn.iter(f"{SVG}circle"))) == 12
    assert {"25 %", "50 %", "80 %"} <= set(texts(found["pd-itl-mean.svg"]))


def test_a_profile_is_drawn_part_by_part() -> None:
    found = plots_of(results("engine", record("profile=decode,batch=1", "attention", 2), record("text=8", "kl", 0.1)))
    assert list(found) == ["engine-profile.svg"]
    assert "decode,batch=1: attention" in texts(found["engine-profile.svg"])


@given(
    st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1e9)), min_size=1, max_size=12),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=80),
)
def test_bars_stay_within_the_picture_and_any_text_is_escaped(bars: list[tuple[int, float]], label: str) -> None:
    drawn = ElementTree.fromstring(
        bars_svg("title", label, ["a", "b"], [Group(label, [Bar(series, value, 0, value) for series, value in bars])])
    )
    width = float(drawn.attrib["width"])
    for shape in drawn.iter(f"{SVG}rect"):
        assert 0 <= float(shape.attrib.get("x", 0)) + float(shape.attrib["width"]) <= width


@given(st.floats(0, math.inf, exclude_max=False))
def test_a_bar_points_to_the_side_of_its_goal(over: float) -> None:
    drawn = ElementTree.fromstring(reach_svg("t", "a", [Reach("case", over, "x")]))
    (line,) = [item for item in drawn.iter(f"{SVG}line") if item.attrib["class"] == "axis"]
    (bar,) = [item for item in drawn.iter(f"{SVG}rect") if item.attrib["class"] in {"good", "bad"}]
    middle, left, width = float(line.attrib["x1"]), float(bar.attrib["x"]), float(bar.attrib["width"])
    is_met = bar.attrib["class"] == "good"
    assert is_met is (over >= 1)
    assert abs((left if is_met else left + width) - middle) < 2
