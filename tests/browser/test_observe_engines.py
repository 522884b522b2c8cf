"""The pages of /metrics of each engine, from the parser to the charts of Observe in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.runner.rows import HostUse, Scraped, Translator
from pdpanel.panel.runner.series import known_series
from pdpanel.panel.telemetry.recognise import MetricsReader
from pdpanel.panel.web.cut import Cut
from pdpanel.panel.web.differences import plain_run
from pdpanel.panel.web.port import ProcessView, RunView, SampleBatch
from pdpanel.panel.web.series_views import to_series_list
from pdpanel.panel.web.trace import Trace
from playwright.sync_api import Browser, Page, expect

PAGES = Path(__file__).parents[1] / "panel" / "telemetry" / "pages"
WAIT_MS = 20_000
# Hands packets to the page as if the panel had sent them, after the connection to the real one is gone.
TAKE = """async (packets) => {
  const { store } = await import("/static-pdpanel/store.js");
  store.channel.close();
  for (const packet of packets) {
    store.take(packet);
    if (packet.type === "snapshot") store.choose(packet.runs[0].id);
  }
}"""
ENGINES = {
    "bundled": {"prefill-0": "bundled-prefill-0", "decode-0": "bundled-decode-0", "router": "bundled-router"},
    "sglang": {"prefill-0": "sglang-prefill", "decode-0": "sglang-decode", "router": "sglang-router"},
    "vllm": {"prefill-0": "vllm-prefill", "decode-0": "vllm-decode"},
}


def played(dialect: str) -> tuple[list[Any], dict[str, float]]:
    """Returns the packets of a run whose processes said what the pages say, and its last row."""
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}})
    launch = replace(plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c")), dialect=dialect)
    translator, readers = Translator(launch), {name: MetricsReader() for name in ENGINES[dialect]}
    series, now = to_series_list(known_series(launch).values()), time.time()
    rows: list[tuple[float, dict[str, float]]] = []
    for number in (1, 2, 3):
        found = {
            name: Scraped(number / 1.0, readers[name].read(path.read_bytes()))
            for name, stem in ENGINES[dialect].items()
            if (path := PAGES / f"{stem}-{number}.txt").exists()
        }
        use = {name: HostUse(0.2 * number, 10**8) for name in found}
        rows.append((now - 3 + number, translator.row(number / 1.0, found, use)))
    trace = Trace("played")
    trace.extend(SampleBatch(3, series, tuple(rows)))
    cut = Cut(trace, None)
    cut.news()
    processes = tuple(ProcessView(name, name.partition("-")[0], "ready") for name in ENGINES[dialect])
    run = RunView("played", "ready", "pd", "m", "mooncake", "http://x", now, processes, (("prefill-0", "decode-0"),))
    return [{"type": "snapshot", "at": now, "runs": [plain_run(run)]}, json.loads(cut.whole(300))], rows[-1][1]


@pytest.fixture(scope="module")
def page(chromium: Browser, panel: Any) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(panel.login_url)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    page.get_by_role("tab", name="Observe").click()
    yield page
    context.close()
    assert errors == []


@pytest.mark.parametrize("dialect", ENGINES)
def test_pages_of_an_engine_become_charts(page: Page, dialect: str) -> None:
    packets, last = played(dialect)
    page.evaluate(TAKE, packets)
    for title in ("KV transfer", "Time to first token", "Inter-token latency", "Requests running", "Generated tokens"):
        expect(page.locator(f'section[aria-label="{title}"]')).to_be_visible()
    held = page.evaluate("() => window.pdpanel.rows.at(-1)[1]")
    shown = {key: value for key, value in last.items() if key in held}
    assert "run/kv_bytes_per_s" in shown
    assert held == pytest.approx(shown, rel=6e-4)
    # Each series with a value is in a chart, and each chart without one has its reason.
    charts = page.evaluate(
        """() => Object.values(window.pdpanel.charts).map((one) => ({
          title: one.definition.title, keys: one.all.map((part) => part.key), hidden: one.node.hidden,
        }))"""
    )
    drawn = {key for one in charts for key in one["keys"]}
    # A total of one part is drawn as that part, and what prefill sends as its links.
    as_parts = {"run/kv_bytes_per_s", "run/generated_tokens_per_s", "run/prompt_tokens_per_s", "run/running"}
    assert set(held) - drawn <= as_parts | {"proc/prefill-0/kv_bytes_per_s"}
    for one in charts:
        assert one["hidden"] is (not one["keys"])
    reasons = page.locator(".pd-missing li").all_inner_texts()
    assert sum(one["hidden"] for one in charts) == len(reasons)
