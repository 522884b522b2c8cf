"""The benchmarks' page: made of stored results, and the one of this checkout is up to date."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.bench.document import FOLDER, PAGE, filled, made, read_all
from pdpanel.panel.bench.plots import plots_of
from pdpanel.panel.bench.records import read_results
from pdpanel.panel.bench.suite import SUITES
from stored_results import write_results

DOCS = Path(__file__).parents[3] / "docs"


def page(text: str = "by hand") -> str:
    return "# Title\n" + "".join(
        f"## {suite}\n{text}\n<!-- results of {suite} -->\nold\n<!-- end of {suite} -->\n" for suite in SUITES
    )


def test_the_page_of_this_checkout_fits_its_results() -> None:
    for path, text in made(DOCS).items():
        assert path.read_text("utf-8") == text, f"{path.name} is out of date: run `make docs/benchmarks.md`"


def test_every_chart_of_this_checkout_is_of_stored_results() -> None:
    drawn = {path.name for path in made(DOCS)}
    assert [path.name for path in (DOCS / FOLDER).glob("*.svg") if path.name not in drawn] == []


def test_results_stand_between_the_markers_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / PAGE).write_text(page())
    write_results(tmp_path / FOLDER / "engine.jsonl")
    files = made(tmp_path)
    text = files[tmp_path / PAGE]
    assert text.count("by hand") == len(SUITES)
    assert "\nold\n" not in text
    assert "1 of 2 goals are met." in text
    row = ("batch=1,context=128", "decode", "30 tokens/s (20 to 40)", "peer, 2 threads: 10 tokens/s", "3", ">= 4")
    assert f"| {' | '.join(row)} | **missed** |" in text
    assert "- text=64 kl: a note" in text
    assert "`pdpanel bench pd -o docs/benchmarks/pd.jsonl` makes them" in text
    assert {path.name for path in files} == {PAGE, "engine-goals.svg"}
    assert "![engine goals](benchmarks/engine-goals.svg)" in text
    assert filled(text, read_all(tmp_path)) == text, "the page is made the same again"


def test_a_page_without_a_marker_is_refused() -> None:
    text = page().replace("<!-- end of start -->", "")
    with pytest.raises(ConfigError, match=r"benchmarks\.md = 'start'"):
        filled(text, [])


def test_short_runs_are_refused(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    write_results(tmp_path / FOLDER / "engine.jsonl", short=True)
    with pytest.raises(ConfigError, match="--short"):
        read_all(tmp_path)


def test_charts_are_well_formed_and_say_met_and_missed(tmp_path: Path) -> None:
    (drawn,) = plots_of(read_results(write_results(tmp_path / "engine.jsonl"))).values()
    words = [element.text or "" for element in ElementTree.fromstring(drawn).iter()]
    assert any("3x (goal >= 4), missed" in word for word in words)
    assert any("0.002 (goal <= 0.005), met" in word for word in words)
    assert "prefers-color-scheme: dark" in drawn
