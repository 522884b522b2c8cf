"""The Observe tab in a real browser, over a simulated run that all tests share."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

WAIT_MS = 20_000
RANGE = "() => window.pdpanel.charts.kv.range()"


def wait_for_ticks(page: Page, more: int) -> None:
    before = page.evaluate("() => window.pdpanel.ticks")
    page.wait_for_function(f"() => window.pdpanel.ticks >= {before + more}", timeout=WAIT_MS)


def kv_box(page: Page) -> Any:
    over = page.locator('[data-chart="kv"] .u-over')
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    return box


def drag(page: Page, begin: float, end: float) -> None:
    box = kv_box(page)
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * begin, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, y, steps=6)
    page.mouse.up()
    page.mouse.move(2, 2)


def chart(page: Page, title: str) -> Any:
    return page.locator(f'section[aria-label="{title}"]')


def sign_in(context: BrowserContext, panel: Any, run: str, errors: list[str]) -> Page:
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("response", lambda got: errors.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(panel.login_url)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    page.get_by_role("tab", name="Observe").click()
    page.evaluate("run => window.pdpanel.select(run)", run)
    expect(page.locator('[data-chart="kv"] canvas')).to_have_count(1)
    return page


@pytest.fixture(scope="module")
def run(panel: Any) -> Iterator[str]:
    run_id = panel.deploy(2, 5)
    yield run_id
    panel.ask("POST", f"/api/runs/{run_id}/stop")


@pytest.fixture(scope="module")
def shared(chromium: Browser, panel: Any, run: str) -> Iterator[Page]:
    errors: list[str] = []
    context = chromium.new_context(
        viewport={"width": 1440, "height": 1600}, reduced_motion="reduce", accept_downloads=True
    )
    yield sign_in(context, panel, run, errors)
    context.close()
    assert errors == []


@pytest.fixture
def observe(shared: Page) -> Page:
    """The page as it opens: a minute, live, nothing hidden."""
    if shared.get_by_test_id("pause").get_attribute("aria-pressed") == "true":
        shared.get_by_test_id("pause").click()
    shared.locator('[data-window="60"]').click()
    shared.mouse.move(2, 2)
    wait_for_ticks(shared, 1)
    return shared


def test_charts_move_and_keep_their_canvas(observe: Page) -> None:
    keys = observe.evaluate("() => window.pdpanel.series.map((series) => series.key)")
    assert "link/prefill-0>decode-1/kv_bytes_per_s" in keys
    assert isinstance(observe.evaluate("() => window.pdpanel.lastValue('run/kv_bytes_per_s')"), int | float)
    first = observe.evaluate(RANGE)[1]
    observe.wait_for_function(f"() => window.pdpanel.charts.kv.range()[1] > {first}")
    expect(observe.locator('[data-chart="kv"] canvas')).to_have_count(1)
    expect(observe.get_by_test_id("now-kv-share")).to_have_text(re.compile(r"%$"))


def test_zoom_survives_updates_and_tabs_and_is_shared(observe: Page) -> None:
    drag(observe, 0.3, 0.7)
    zoomed = observe.evaluate(RANGE)
    assert 10 < zoomed[1] - zoomed[0] < 40
    assert observe.evaluate("() => window.pdpanel.charts.transfer.range()") == zoomed
    wait_for_ticks(observe, 3)
    observe.get_by_role("tab", name="Deploy").click()
    observe.get_by_role("tab", name="Observe").click()
    wait_for_ticks(observe, 2)
    assert observe.evaluate(RANGE) == zoomed
    observe.get_by_test_id("reset-zoom").click()
    assert observe.evaluate(RANGE)[1] > zoomed[1]
    expect(observe.get_by_test_id("reset-zoom")).to_be_hidden()


def test_pause_holds_the_picture(observe: Page) -> None:
    observe.get_by_test_id("pause").click()
    held = observe.evaluate(RANGE)
    expect(observe.get_by_test_id("observe-state")).to_have_text("Paused: samples are still taken.")
    wait_for_ticks(observe, 3)
    assert observe.evaluate(RANGE) == held
    observe.get_by_test_id("pause").click()
    observe.wait_for_function(f"() => window.pdpanel.charts.kv.range()[1] > {held[1]}")


def test_one_cursor_reads_all_charts(observe: Page) -> None:
    kv, transfer = chart(observe, "KV transfer"), chart(observe, "Transfer latency")
    expect(kv.locator(".pd-when")).to_have_text("now")
    box = kv_box(observe)
    observe.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + 20)
    expect(kv.locator(".pd-when")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect(transfer.locator(".pd-when")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    observe.mouse.move(2, 2)
    expect(transfer.locator(".pd-when")).to_have_text("now")


def test_keyboard_moves_the_cursor_and_zooms(observe: Page) -> None:
    plot = observe.locator('[data-chart="kv"]')
    plot.focus()
    before = observe.evaluate(RANGE)
    observe.keyboard.press("ArrowLeft")
    observe.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("aria-label", re.compile(r"^KV transfer, \d\d:\d\d:\d\d: .*total \S+ \w+/s"))
    observe.keyboard.press("+")
    after = observe.evaluate(RANGE)
    assert after[1] - after[0] == pytest.approx((before[1] - before[0]) / 2, rel=0.1)
    observe.keyboard.press("Escape")
    expect(plot).to_have_attribute("aria-label", re.compile("^KV transfer, now"))
    assert observe.evaluate(RANGE)[1] - observe.evaluate(RANGE)[0] > after[1] - after[0]
    plot.blur()


def test_legend_hides_and_shows_alone(observe: Page) -> None:
    names = chart(observe, "Transfer latency").locator(".pd-legendentry")
    drawn = "() => window.pdpanel.charts.transfer.lines.map((one) => one.name)"
    assert observe.evaluate(drawn) == ["p50", "p99"]
    names.nth(0).click()
    assert observe.evaluate(drawn) == ["p99"]
    expect(names.nth(0)).to_have_attribute("aria-pressed", "false")
    names.nth(0).click()
    names.nth(0).click(modifiers=["Shift"])
    assert observe.evaluate(drawn) == ["p50"]
    names.nth(0).click(modifiers=["Shift"])
    assert observe.evaluate(drawn) == ["p50", "p99"]


def test_many_series_keep_a_short_legend(observe: Page) -> None:
    kv = chart(observe, "KV transfer")
    expect(kv.locator(".pd-legendname")).to_have_count(9)
    more = kv.get_by_role("button", name="Others: 2")
    more.click()
    expect(kv.locator(".pd-legendname")).to_have_count(11)
    kv.get_by_role("button", name="Only the 8 largest").click()
    search = kv.get_by_role("searchbox", name="Find a series of KV transfer")
    search.fill("DECODE-3")
    expect(kv.locator(".pd-legendname")).to_have_text(["prefill-0 → decode-3", "prefill-1 → decode-3", "total"])
    search.fill("")
    expect(kv.locator(".pd-legendname")).to_have_count(9)


def test_line_rate_is_a_line_with_the_share(observe: Page) -> None:
    expect(observe.get_by_test_id("share-kv")).to_have_text(re.compile(r"^(< 0\.1|\d+(\.\d)?) % of 2 x 400 Gb/s$"))
    top = "() => window.pdpanel.charts.kv.plot.scales.y.max"
    assert observe.evaluate(top) < 100e9
    observe.get_by_test_id("limit-kv").click()
    observe.wait_for_function(f"() => ({top})() > 100e9")
    observe.get_by_test_id("limit-kv").click()
    observe.wait_for_function(f"() => ({top})() < 100e9")


def test_folding_is_remembered_and_asks_for_no_more_than_is_seen(observe: Page) -> None:
    host = observe.locator('[data-section="host"]')
    groups = "() => [...new Set(window.pdpanel.series.map((one) => one.group))]"
    assert "gpu" not in observe.evaluate(groups)
    host.locator("summary").click()
    expect(chart(observe, "GPU busy")).to_be_visible()
    assert "gpu" in observe.evaluate(groups)
    assert (
        observe.evaluate("() => JSON.parse(localStorage.getItem('pdpanel.observe.folded')).includes('host')") is False
    )
    host.locator("summary").click()
    observe.wait_for_function(f"() => !({groups})().includes('gpu')")


def test_chart_without_data_says_why(observe: Page) -> None:
    expect(observe.get_by_test_id("missing-transfer")).to_contain_text("MC_TE_METRIC=1")
    assert chart(observe, "Transfer Engine throughput").is_hidden()


def test_csv_holds_what_is_shown(observe: Page, run: str, tmp_path: Path) -> None:
    with observe.expect_download() as found:
        observe.get_by_test_id("csv-shown").click()
    assert found.value.suggested_filename.startswith(run)
    found.value.save_as(tmp_path / "shown.csv")
    head, *lines = (tmp_path / "shown.csv").read_text().splitlines()
    names = head.split(",")
    assert names[:2] == ["time", "unix_s"]
    assert "run/kv_bytes_per_s [B/s]" in names
    assert not any(name.startswith("gpu/") for name in names)
    assert len(lines) > 3
    times = [float(line.split(",")[1]) for line in lines]
    assert times == sorted(times)
    place = names.index("run/kv_bytes_per_s [B/s]")
    assert all(float(line.split(",")[place]) >= 0 for line in lines)


def test_csv_of_everything_asks_for_the_rest(observe: Page, tmp_path: Path) -> None:
    with observe.expect_download() as found:
        observe.get_by_test_id("csv-all").click()
    found.value.save_as(tmp_path / "all.csv")
    head = (tmp_path / "all.csv").read_text().splitlines()[0]
    assert "gpu/0/util_percent [%]" in head
    assert "run/kv_bytes_per_s [B/s]" in head


def pixels(png: bytes) -> tuple[int, int, bytes]:
    """Returns width, height and the filtered bytes of a PNG of 8 bits a channel."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += 12 + size
    return width, height, zlib.decompress(data)


def test_png_of_a_chart(observe: Page, tmp_path: Path) -> None:
    with observe.expect_download() as found:
        observe.get_by_test_id("png-kv").click()
    found.value.save_as(tmp_path / "kv.png")
    width, height, data = pixels((tmp_path / "kv.png").read_bytes())
    assert width > 1000
    assert height > 320
    assert len(set(data)) > 20


def test_long_past_is_asked_for(observe: Page) -> None:
    observe.locator('[data-window="86400"]').click()
    expect(observe.get_by_test_id("observe-state")).to_have_text(re.compile("^The past up to "))
    begin, end = observe.evaluate(RANGE)
    assert end - begin == pytest.approx(86400, abs=1)
    expect(observe.get_by_test_id("pause")).to_be_disabled()


def test_store_survives_sleep_and_clocks(observe: Page) -> None:
    """Packets as a browser gets them after it slept, with a clock that was put back, in a store of its own."""
    found = observe.evaluate(
        """async () => {
          const { Frame } = await import("/static-pdpanel/frame.js");
          const series = [{ key: "a" }, { key: "b" }];
          const head = { series, step_s: 0, t0: 10000, apart: [0, 500, 500] };
          const frame = Frame.of({ ...head, columns: [[1, 2, 3], null], base: [3, null] });
          frame.apply([11.5, [0, 4, 5]]);
          frame.apply([12]);
          // A day later.
          frame.apply([86412, [1, null]]);
          const slept = frame.rows();
          frame.apply([86400.5, [0, 9]]);
          const back = frame.rows().at(-1);
          for (let place = 0; place < 20000; place += 1) {
            frame.apply([86401 + place / 2, [0, place]]);
            frame.keep(86401 + place / 2 - 3600, 6, 600);
          }
          return {
            slept, back, length: frame.times.length, peak: frame.peak("a", 0), newest: frame.newest("a"),
            missing: frame.newest("b"), sorted: frame.times.every((time, at, all) => at === 0 || all[at - 1] < time),
            same: frame.column("a").length === frame.times.length,
          };
        }"""
    )
    assert found["slept"][:5] == [
        [10, {"a": 1}],
        [10.5, {"a": 2}],
        [11, {"a": 3}],
        [11.5, {"a": 4, "b": 5}],
        [12, {"a": 4, "b": 5}],
    ]
    # The gap is a row without values, so that no line crosses it.
    assert found["slept"][5:] == [[12.001, {}], [86412, {"a": 4}]]
    assert found["back"] == [86400.5, {"a": 9}]
    assert 600 < found["length"] < 1500
    assert found["sorted"]
    assert found["same"]
    assert (found["newest"], found["missing"]) == (19999, None)


def test_units_follow_the_size(observe: Page) -> None:
    found = observe.evaluate(
        """async () => {
          const { scaled, lineRate } = await import("/static-pdpanel/units.js");
          const { share, kvLimit } = await import("/static-pdpanel/line-rate.js");
          const nic = (place, limit) => ({ key: `nic/a${place}:1/tx_bytes_per_s`, group: "nic", limit });
          const sent = [0, 1, 2, 3].map((place) => nic(place, 50e9));
          return [
            scaled("B/s", 3e9).label, scaled("B/s", 3e4).label, scaled("s", 0.0004).label, scaled("s", 0.2).label,
            scaled("s", 3).label, scaled("requests", 3).label, scaled("%", 3).label,
            scaled("tokens/s", 0).label, lineRate(50e9), lineRate(1.25e8),
            share(24e9, 200e9), share(0, 1), share(1, 1e9), kvLimit(sent).text, kvLimit([]),
            kvLimit([...sent, { key: "run/kv_bytes_per_s", group: "kv", limit: 100e9 }]).text,
          ];
        }"""
    )
    assert found[:10] == ["GB/s", "kB/s", "µs", "ms", "s", "", "%", "tokens/s", "400 Gb/s", "1 Gb/s"]
    assert found[10:] == ["12 %", "0 %", "< 0.1 %", "4 x 400 Gb/s", None, "2 x 400 Gb/s"]


def test_unified_run_says_that_nothing_travels(observe: Page, panel: Any, run: str) -> None:
    unified = panel.deploy(mode="unified")
    observe.evaluate("run => window.pdpanel.select(run)", unified)
    expect(observe.get_by_test_id("missing-kv")).to_contain_text("nothing travels")
    panel.ask("POST", f"/api/runs/{unified}/stop")
    observe.evaluate("run => window.pdpanel.select(run)", run)
    expect(chart(observe, "KV transfer")).to_be_visible()


def test_narrow_page_has_no_sideways_scrolling(chromium: Browser, panel: Any, run: str) -> None:
    errors: list[str] = []
    context = chromium.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page = sign_in(context, panel, run, errors)
    wait_for_ticks(page, 2)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    context.close()
    assert errors == []
