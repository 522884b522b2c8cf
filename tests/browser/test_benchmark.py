"""The Benchmark tab as a person uses it: start, watch, stop, compare, export, import, measure accuracy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from pd_http import free_port
from playwright.sync_api import Locator, Page, expect
from pretended_server import PretendedServer

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
ENDED_MS = 30_000


def opened(page: Page) -> None:
    page.get_by_role("tab", name="Benchmark").click()
    expect(page.get_by_test_id("bench-start")).to_be_visible()


def fill(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.get_by_test_id(f"bench-{name}").fill(value)


def started(page: Page, run_id: str, panel: Any, **values: str) -> None:
    expect(page.get_by_test_id("bench-run").locator(f"option[value='{run_id}']")).to_be_attached()
    page.get_by_test_id("bench-run").select_option(run_id)
    fill(page, **values)
    page.get_by_test_id("bench-start").click()


def state(page: Page) -> Locator:
    return page.get_by_test_id("bench-state")


def forget_refusals(watched: Any) -> None:
    """Takes the browser's own lines about answers with status 400 for what they are: asked for by the test."""
    watched.complaints[:] = [text for text in watched.complaints if "status of 400" not in text]


def remove_all(panel: Any) -> None:
    for entry in panel.ask("GET", "/api/loads")["loads"]:
        panel.ask("POST", f"/api/loads/{entry['id']}/stop")
        panel.ask("POST", f"/api/loads/{entry['id']}/remove")


def test_a_load_is_measured_kept_and_compared(page: Page, run_id: str, panel: Any) -> None:
    remove_all(panel)
    opened(page)
    expect(page.get_by_test_id("bench-empty")).to_contain_text("press Start")
    started(page, run_id, panel, requests="8", concurrency="4", output="6")
    expect(state(page)).to_have_text("Finished", timeout=ENDED_MS)
    expect(page.get_by_test_id("bench-now-requests")).to_have_text("8")
    expect(page.get_by_test_id("bench-latencies").get_by_role("row")).to_have_count(5)
    expect(page.get_by_test_id("bench-row")).to_have_count(1)

    started(page, run_id, panel, requests="4", concurrency="1", output="6")
    expect(page.get_by_test_id("bench-row")).to_have_count(2)
    expect(state(page)).to_have_text("Finished", timeout=ENDED_MS)
    for tick in page.get_by_role("checkbox", name="Compare 1P2D").all():
        tick.check()
    comparison = page.get_by_test_id("bench-compare")
    expect(comparison.get_by_role("columnheader")).to_have_count(3)
    throughput = comparison.get_by_role("row", name="Output tokens/s")
    # Four at once against one at a time, at a fixed time per token.
    expect(throughput).to_contain_text("better")
    expect(throughput.locator("[data-tone=good]")).to_have_count(1)
    expect(comparison).to_contain_text("differ in arrivals")
    comparison.get_by_label("Against").select_option(index=1)
    expect(throughput.locator("[data-tone=bad]")).to_have_count(1)
    expect(page).to_have_url(re.compile("loads=load-"))
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("id,name,kind")


def test_a_result_is_compared_with_unified_at_one_click(page: Page, run_id: str, panel: Any) -> None:
    remove_all(panel)
    opened(page)
    started(page, run_id, panel, requests="6", concurrency="2", output="4")
    expect(state(page)).to_have_text("Finished", timeout=ENDED_MS)
    page.get_by_test_id("bench-detail").get_by_role("button", name="Compare with unified").click()
    dialog = page.get_by_test_id("bench-unified")
    expect(dialog).to_contain_text("as many as prefill and decode have together (1P2D)")
    dialog.get_by_role("button", name="Start 3 unified workers").click()
    expect(page.get_by_test_id("bench-compare").get_by_role("columnheader")).to_have_count(3, timeout=ENDED_MS)
    expect(page.get_by_test_id("bench-compare")).to_contain_text("The same load each time.")
    expect(page.get_by_test_id("bench-next")).to_be_hidden()
    twin = next(run for run in panel.ask("GET", "/api/runs")["runs"] if run["mode"] == "unified")
    assert [process["role"] for process in twin["processes"]].count("unified") == 3
    loads = panel.ask("GET", "/api/loads")["loads"]
    assert [(load["mode"], load["spec"]["requests"]) for load in loads] == [("unified x3", 6), ("1P2D", 6)]

    # The same load once more, wherever the header points.
    page.get_by_test_id("run-picker").select_option(twin["id"])
    page.get_by_role("button", name=f"Run the same load on {twin['id']}").click()
    expect(page.get_by_test_id("bench-row")).to_have_count(3)
    expect(state(page)).to_have_text("Finished", timeout=ENDED_MS)
    panel.ask("POST", f"/api/runs/{twin['id']}/stop")


def test_the_same_load_is_shown_as_commands(page: Page, run_id: str, panel: Any) -> None:
    opened(page)
    page.get_by_test_id("bench-commands").locator("summary").click()
    commands = page.get_by_test_id("bench-commands")
    page.get_by_role("button", name="1024 / 1024").click()
    expect(commands).to_contain_text("--random-input-len 1024")
    expect(commands).to_contain_text("sglang.bench_serving")
    expect(commands).to_contain_text("vllm bench serve")
    expect(commands).to_contain_text("pdpanel load http://")


def test_a_load_that_goes_on_is_stopped_and_keeps_its_numbers(page: Page, run_id: str, panel: Any) -> None:
    opened(page)
    started(page, run_id, panel, requests="100000", concurrency="2", output="3")
    expect(page.locator("[data-bench=tokens] canvas")).to_be_attached(timeout=ENDED_MS)
    page.get_by_test_id("bench-stop").click()
    expect(state(page)).to_have_text("Stopped", timeout=ENDED_MS)
    assert int(page.get_by_test_id("bench-now-requests").inner_text()) > 0
    expect(page.get_by_test_id("bench-notes")).to_contain_text("when the load was stopped")


def test_what_a_person_gets_wrong_is_one_sentence(page: Page, run_id: str, panel: Any, watched: Any) -> None:
    opened(page)
    started(page, run_id, panel, input="many")
    expect(page.get_by_test_id("bench-error")).to_contain_text("is no length in tokens")
    page.get_by_test_id("bench-run").select_option("")
    page.get_by_test_id("bench-start").click()
    expect(page.get_by_test_id("bench-error")).to_contain_text("Name the URL of a server")
    fill(page, url="http://127.0.0.1:9", input="16")
    page.get_by_test_id("bench-start").click()
    expect(state(page)).to_have_text("Failed", timeout=ENDED_MS)
    expect(page.get_by_test_id("bench-notes")).to_contain_text("No server answers at http://127.0.0.1:9")
    page.get_by_test_id("accuracy").locator("summary").click()
    page.get_by_test_id("accuracy-start").click()
    expect(page.get_by_test_id("accuracy-error")).to_contain_text("Name the")
    forget_refusals(watched)


def test_results_of_other_programs_stand_in_the_list_as_text(
    page: Page, panel: Any, tmp_path: Path, watched: Any
) -> None:
    opened(page)
    hostile = "<img src=x onerror='window.hacked=1'>"
    record = {
        "backend": "vllm",
        "model_id": hostile,
        "request_throughput": 3.5,
        "total_token_throughput": 900,
        "output_throughput": 450,
        "completed": 7,
        "duration": 2.0,
        "mean_ttft_ms": 20.5,
        "median_ttft_ms": 19.5,
    }
    path = tmp_path / "result.json"
    path.write_text(json.dumps(record))
    page.get_by_test_id("bench-file").set_input_files(path)
    row = page.get_by_test_id("bench-row").filter(has_text="vLLM bench serve")
    expect(row.first).to_contain_text("450")
    row.first.get_by_role("button", name="vLLM bench serve").first.click()
    expect(page.get_by_test_id("bench-detail")).to_contain_text(hostile)
    assert page.evaluate("() => window.hacked") is None
    path.write_text("nothing of a benchmark")
    page.get_by_test_id("bench-file").set_input_files(path)
    expect(page.get_by_role("alert").filter(has_text="holds no result of a benchmark")).to_be_visible()
    forget_refusals(watched)


def test_results_in_attached_logs_are_offered(page: Page, panel: Any) -> None:
    for other in panel.ask("GET", "/api/loads/found")["found"]:  # what other tests of this panel have attached
        panel.ask("POST", "/api/loads/found", {"run": other["run"], "log": other["log"]})
    run = panel.ask("POST", "/api/attach", {"router": "http://127.0.0.1:9"})["run"]
    opened(page)
    rows = page.get_by_test_id("bench-row").filter(has_text="made_CONCURRENCY.log")
    found = page.get_by_test_id("bench-found")
    expect(found).to_contain_text("Found in the attached logs")
    expect(found).to_contain_text(f"made_CONCURRENCY.log: 2 results (run {run})")
    before = rows.count()
    found.get_by_role("button", name="Add made_CONCURRENCY.log to the list").click()
    expect(rows).to_have_count(before + 2)
    expect(found).to_be_hidden()
    panel.ask("POST", f"/api/runs/{run}/detach")


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1440, "light"),
        (390, "dark"),
        *(
            pytest.param(*look, marks=pytest.mark.slow)
            for look in ((1440, "dark"), (1024, "light"), (1024, "dark"), (390, "light"))
        ),
    ],
)
def test_it_is_accessible_and_fits(open_view: Any, run_id: str, panel: Any, scheme: str, width: int) -> None:
    entries = panel.ask("GET", "/api/loads")["loads"]
    finished = [entry["id"] for entry in entries if entry["kind"] == "load" and entry["state"] == "finished"][:2]
    page: Page = open_view(width, 900, scheme)
    opened(page)
    if len(finished) == 2:
        page.evaluate(
            "([one, all]) => { location.hash = `#tab=bench&load=${one}&loads=${all}`; }",
            [finished[0], ",".join(finished)],
        )
        page.reload()
        expect(page.get_by_test_id("bench-compare")).to_be_visible()
    page.get_by_test_id("bench-commands").locator("summary").click()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"benchmark-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    serious = [
        f"{violation['id']}: {node['html'][:160]}"
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
    ]
    assert serious == []


@pytest.mark.slow
def test_a_killed_panel_leaves_the_load_and_the_next_one_shows_it(open_page: Any, panel: Any, tmp_path: Path) -> None:
    server = PretendedServer()
    own = type(panel)(tmp_path, free_port())
    own.start()
    try:
        body = {"url": server.url, "requests": 100_000, "concurrency": 2, "output": "3", "input": "8"}
        load = own.ask("POST", "/api/loads", body)["load"]
        assert own.process is not None
        own.process.kill()
        own.process.wait(20)
        own.reader.join(10)
        own.start()
        page: Page = open_page(process=own)
        opened(page)
        expect(state(page)).to_contain_text("Running")
        expect(page.get_by_test_id("bench-now-requests")).to_have_text(re.compile("[0-9]"), timeout=ENDED_MS)
        page.get_by_test_id("bench-stop").click()
        expect(state(page)).to_have_text("Stopped", timeout=ENDED_MS)
        assert own.ask("GET", f"/api/loads/{load}")["columns"]["requests_successful"] > 0
    finally:
        own.stop()
        server.close()
