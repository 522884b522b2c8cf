"""The Deploy view: the check before the button, the start as it happens, crashes, actions on runs, earlier runs."""

from __future__ import annotations

import re
import zipfile
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

WAIT_MS = 20_000
HOSTILE = '<img src=x onerror="window.hacked=1">'


@pytest.fixture
def page(shared_page: Page) -> Page:
    return shared_page


def card(page: Page, run_id: str) -> Locator:
    return page.locator(f'.pd-card[data-run="{run_id}"]')


def start(panel: Any, model: str, prefill: int = 1, decode: int = 1) -> str:
    form = {"mode": "pd", "model": model, "prefill": prefill, "decode": decode, "transport": "tcp"}
    return panel.ask("POST", "/api/runs", form)["run"]


def stop(panel: Any, run_id: str) -> None:
    panel.ask("POST", f"/api/runs/{run_id}/stop")


def test_the_check_follows_the_form_and_a_fix_changes_it(page: Page) -> None:
    check = page.get_by_test_id("check")
    workers = page.get_by_label("Decode workers")
    button = page.get_by_role("button", name="Deploy", exact=True)
    expect(page.get_by_test_id("check-summary")).to_have_text("Nothing stands in the way of a start.")
    workers.fill("12")
    workers.press("Tab")
    expect(check).to_contain_text("13 workers share 8 CPU cores")
    expect(button).to_be_enabled()
    check.get_by_text("Evidence (2)").click()
    expect(check).to_contain_text("CPU cores")
    check.get_by_role("button", name="Use 7 decode workers instead of 12").click()
    expect(workers).to_have_value("7")
    expect(page.get_by_test_id("toast")).to_contain_text("Use 7 decode workers instead of 12")
    expect(page.get_by_test_id("check-summary")).to_have_text("Nothing stands in the way of a start.")
    workers.fill("1")
    workers.press("Tab")


def test_unified_takes_a_number_of_workers(page: Page, panel: Any) -> None:
    unified = page.get_by_label("Unified workers")
    expect(unified).to_be_hidden()
    page.get_by_label("Unified", exact=True).check()
    expect(page.get_by_label("Decode workers")).to_be_hidden()
    unified.fill("12")
    unified.press("Tab")
    page.get_by_test_id("check").get_by_role("button", name="Use 8 unified workers instead of 12").click()
    expect(unified).to_have_value("8")
    unified.fill("2")
    unified.press("Tab")
    page.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.get_by_test_id("deploy-outcome")).to_contain_text("Started run")
    run = page.evaluate("() => window.pdpanel.selected")
    assert [process["name"] for process in panel.run(run)["processes"]] == ["unified-0", "unified-1", "router"]
    unified.fill("1")
    unified.press("Tab")
    page.get_by_label("Prefill and decode apart").check()
    stop(panel, run)


def test_a_start_that_would_surely_fail_cannot_be_pressed(page: Page) -> None:
    model = page.get_by_role("combobox", name="Model")
    button = page.get_by_role("button", name="Deploy", exact=True)
    model.fill("/models/not-there")
    model.press("Enter")
    expect(page.get_by_test_id("check-summary")).to_have_text("A start would fail now.")
    expect(page.get_by_test_id("check")).to_contain_text("There is no such file or folder on this host.")
    expect(button).to_be_disabled()
    model.fill("SmolLM2-135M-Instruct")
    model.press("Enter")
    expect(button).to_be_enabled()


def test_the_start_is_shown_as_it_happens_and_a_crash_is_explained(page: Page, panel: Any) -> None:
    page.evaluate(
        """() => {
          window.pdSeen = new Set();
          const look = () => {
            for (const node of document.querySelectorAll(".pd-order-now")) window.pdSeen.add(node.textContent);
          };
          new MutationObserver(look).observe(document.body, { childList: true, characterData: true, subtree: true });
        }"""
    )
    run = start(panel, "a-crash-model", 1, 2)
    run_card = card(page, run)
    crashed = run_card.locator('tr[data-process="decode-0"]')
    expect(crashed).to_have_attribute("data-state", "crashed", timeout=WAIT_MS)
    expect(run_card.get_by_test_id("run-state")).to_have_text("Degraded")
    seen = page.evaluate("() => [...window.pdSeen]")
    assert any(re.match(r"starting|importing|loading weights \d+ %|warming up|registered", each) for each in seen), seen
    order = run_card.get_by_test_id("start-order")
    order.locator("summary").click()
    expect(order.locator('[data-started="decode-1"]')).to_contain_text("ready")
    expect(order.locator('[data-started="decode-1"]')).to_contain_text(re.compile(r"\d\.\d s"))
    expect(order.locator('[data-started="decode-0"]')).to_contain_text("crashed")
    crash = crashed.get_by_test_id("crash")
    expect(crash.locator("summary").first).to_have_text("signal 9 (SIGKILL) · explained (1)")
    crash.locator("summary").first.click()
    expect(crash).to_contain_text("take more memory than the device has")
    expect(crash).to_contain_text("Lower mem_fraction_static")
    crash.get_by_text("Evidence (1)").click()
    expect(crash).to_contain_text("Tried to allocate 2.50 GiB")
    expect(run_card.locator('tr[data-process="decode-1"]').get_by_test_id("crash")).to_be_hidden()
    crashed.get_by_role("button", name="Restart decode-0").click()
    expect(crashed).to_have_attribute("data-state", re.compile("starting|crashed"))
    stop(panel, run)


LAST_START = """async (began) => {
  const { lastStart } = await import("/static-pdpanel/start-order.js");
  const stages = (from) => [{ name: "starting", began_s: from }, { name: "ready", began_s: from + 3 }];
  const processes = Object.entries(began).map(([name, from]) => ({ name, state: "ready", stages: stages(from) }));
  return lastStart(processes, 1e4).map((process) => process.name);
}"""


@pytest.mark.parametrize(
    ("began", "last"),
    [
        ({"prefill-0": 0, "decode-0": 0.2, "router": 4}, ["prefill-0", "decode-0", "router"]),
        ({"prefill-0": 0, "decode-0": 110, "router": 4}, ["decode-0"]),
        ({"prefill-0": 200, "decode-0": 110, "router": 4}, ["prefill-0"]),
    ],
)
def test_a_later_restart_is_no_part_of_the_first_start(page: Page, began: dict[str, float], last: list[str]) -> None:
    """A killed worker that came back made the start order say "1 min 53 s in all"."""
    assert page.evaluate(LAST_START, began) == last


def test_stopping_asks_first_and_cancel_keeps_the_run(page: Page, run_id: str) -> None:
    run_card = card(page, run_id)
    expect(run_card.get_by_test_id("run-state")).to_have_text("Ready", timeout=WAIT_MS)
    stop_all = run_card.get_by_test_id("stop-all")
    stop_all.click()
    dialog = page.get_by_test_id("confirm")
    expect(dialog).to_contain_text("Requests that are running fail")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(stop_all).to_be_focused()
    expect(run_card.get_by_test_id("run-state")).to_have_text("Ready")


def test_a_run_is_restarted_stopped_and_resumed_as_a_whole(page: Page, panel: Any, run_id: str) -> None:
    run_card = card(page, run_id)
    state = run_card.get_by_test_id("run-state")
    expect(state).to_have_text("Ready", timeout=WAIT_MS)
    before = panel.run(run_id)["processes"][0]["pid"]
    run_card.get_by_test_id("restart-run").click()
    page.get_by_test_id("confirm").get_by_role("button", name="Restart run").click()
    expect(page.get_by_test_id("confirm")).to_have_count(0)
    page.wait_for_function(
        "([id, pid]) => window.pdpanel.runs.find((run) => run.id === id).processes[0].pid !== pid", arg=[run_id, before]
    )
    expect(state).to_have_text("Ready", timeout=WAIT_MS)
    run_card.get_by_test_id("stop-all").click()
    page.get_by_test_id("confirm").get_by_role("button", name="Stop all").click()
    history = page.get_by_test_id("history")
    if not history.evaluate("node => node.open"):
        history.locator("summary").first.click()
    row = history.locator(f'tr[data-earlier="{run_id}"]')
    expect(row).to_contain_text("Stopped")
    expect(row).to_contain_text("1P2D")
    row.get_by_role("button", name=f"Resume {run_id}").click()
    expect(state).to_have_text("Ready", timeout=WAIT_MS)
    expect(row).to_have_count(0)


def test_the_only_earlier_run_leaves_the_list_when_it_is_resumed(page: Page, panel: Any, run_id: str) -> None:
    """Its row stayed, unseen, in a list that counted none."""
    others = [run["id"] for run in panel.ask("GET", "/api/runs")["runs"] if run["state"] == "stopped"]
    if others:
        panel.ask("POST", "/api/history/remove", {"runs": others})
    stop(panel, run_id)
    history = page.get_by_test_id("history")
    expect(history.locator("summary").first).to_have_text("Earlier runs (1)")
    earlier(page, run_id).get_by_role("button", name=f"Resume {run_id}").click()
    expect(card(page, run_id).get_by_test_id("run-state")).to_have_text("Ready", timeout=WAIT_MS)
    expect(history).to_be_hidden()
    expect(history.locator("tbody tr")).to_have_count(0)


def test_an_earlier_run_is_opened_and_its_samples_are_still_there(page: Page, panel: Any) -> None:
    run = start(panel, "opened-again")
    expect(card(page, run).get_by_test_id("run-state")).to_have_text("Ready", timeout=WAIT_MS)
    stop(panel, run)
    history = page.get_by_test_id("history")
    expect(history).to_be_visible()
    if not history.evaluate("node => node.open"):
        history.locator("summary").first.click()
    history.get_by_role("button", name=f"Open {run}", exact=True).click()
    expect(page).to_have_url(re.compile(rf"(?=.*tab=observe)(?=.*run={run})"))
    page.wait_for_function(f"() => window.pdpanel.selected === '{run}'")
    page.get_by_role("tab", name="Deploy").click()
    expect(card(page, run)).to_contain_text("Ended. What it measured and wrote is still here.")


def earlier(page: Page, run_id: str) -> Locator:
    history = page.get_by_test_id("history")
    expect(history).to_be_visible()
    if not history.evaluate("node => node.open"):
        history.locator("summary").first.click()
    return history.locator(f'tr[data-earlier="{run_id}"]')


def test_an_earlier_run_is_cloned_and_removed(page: Page, panel: Any) -> None:
    run = start(panel, "cloned-then-removed")
    stop(panel, run)
    row = earlier(page, run)
    row.get_by_role("button", name=f"Clone {run}").click()
    expect(page.get_by_test_id("plan-yaml")).to_have_value(re.compile("cloned-then-removed"))
    page.get_by_role("tab", name="Deploy").click()
    row.get_by_role("button", name=f"Remove {run}").click()
    dialog = page.get_by_test_id("confirm")
    expect(dialog).to_contain_text("cannot be undone")
    dialog.get_by_role("button", name="Cancel").click()
    assert run in [each["id"] for each in panel.ask("GET", "/api/runs")["runs"]]
    row.get_by_role("button", name=f"Remove {run}").click()
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_test_id("toast").last).to_contain_text(f"The run {run} was removed: 1.0 MB freed.")
    expect(row).to_have_count(0)
    assert run not in [each["id"] for each in panel.ask("GET", "/api/runs")["runs"]]


def test_disk_space_is_freed_by_what_is_ticked(page: Page, panel: Any) -> None:
    kept, gone = start(panel, "kept"), start(panel, "gone")
    stop(panel, kept)
    stop(panel, gone)
    earlier(page, gone)
    page.get_by_test_id("free-disk").click()
    dialog = page.get_by_test_id("prune")
    rows = dialog.locator("tbody tr")
    expect(rows).to_have_count(3)  # those that were there from the start are old
    dialog.get_by_label("Models in the cache that no remaining run uses").check()
    expect(dialog.get_by_test_id("prune-sum")).to_have_text("Frees 118 MB: 3 runs, 1 model.")
    dialog.get_by_label("Runs that ended").select_option("at any time")
    expect(dialog.get_by_label(f"run {gone}")).to_be_checked()
    dialog.get_by_label("All of the list").uncheck()
    expect(dialog.get_by_test_id("prune-sum")).to_have_text("Nothing is chosen.")
    expect(dialog.get_by_role("button", name="Free it")).to_be_disabled()
    dialog.get_by_label(f"run {gone}").check()
    expect(dialog.get_by_test_id("prune-sum")).to_have_text("Frees 1.0 MB: 1 run.")
    dialog.get_by_role("button", name="Free it").click()
    expect(page.get_by_test_id("toast").last).to_contain_text("1.0 MB freed: 1 run.")
    expect(earlier(page, gone)).to_have_count(0)
    expect(earlier(page, kept)).to_have_count(1)


def test_a_bug_report_is_listed_first_then_downloaded(page: Page, run_id: str) -> None:
    card(page, run_id).get_by_test_id("report-run").click()
    dialog = page.get_by_test_id("bug-report")
    expect(dialog.get_by_role("row", name="logs/prefill-0.log")).to_contain_text(re.compile("1 . secret"))
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"{run_id}-report.zip"
    assert zipfile.ZipFile(download.value.path()).namelist() == ["README.txt", "logs/prefill-0.log"]
    expect(page.get_by_test_id("toast").last).to_contain_text("Look through it before you send it")


def test_a_run_without_its_runner_is_adopted_with_its_processes(page: Page, panel: Any) -> None:
    run = start(panel, "an-orphan-model")
    state = card(page, run).get_by_test_id("run-state")
    expect(state).to_have_text("Unsupervised", timeout=WAIT_MS)
    before = [process["pid"] for process in panel.run(run)["processes"]]
    expect(card(page, run).get_by_test_id("restart-run")).to_be_hidden()
    card(page, run).get_by_test_id("adopt-run").click()
    expect(state).to_have_text("Ready")
    expect(card(page, run).get_by_test_id("adopt-run")).to_be_hidden()
    assert [process["pid"] for process in panel.run(run)["processes"]] == before
    stop(panel, run)


def test_an_attached_run_is_detached_and_shows_no_start(page: Page, panel: Any) -> None:
    run = panel.ask("POST", "/api/attach", {"router": "http://127.0.0.1:9"})["run"]
    watched = card(page, run)
    expect(watched.get_by_test_id("run-state")).to_have_text("Ready", timeout=WAIT_MS)
    expect(watched.get_by_test_id("start-order")).to_be_hidden()
    for name in ("stop-all", "restart-run", "clone-run"):
        expect(watched.get_by_test_id(name)).to_be_hidden()
    watched.get_by_test_id("detach-run").click()
    expect(earlier(page, run)).to_contain_text("Detached")
    expect(earlier(page, run).get_by_role("button", name=f"Resume {run}")).to_be_hidden()


def test_clone_opens_the_deployment_in_plan_and_starts_nothing(page: Page, panel: Any, run_id: str) -> None:
    before = len(panel.ask("GET", "/api/runs")["runs"])
    card(page, run_id).get_by_test_id("clone-run").click()
    expect(page.get_by_role("tab", name="Plan")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_test_id("plan-yaml")).to_have_value(re.compile("SmolLM2-135M-Instruct"))
    expect(page.get_by_test_id("plan-begun")).to_contain_text("the deployment of SmolLM2-135M-Instruct")
    expect(page.get_by_test_id("toast")).to_contain_text("Nothing has been started")
    assert len(panel.ask("GET", "/api/runs")["runs"]) == before


def test_markup_in_names_reasons_and_findings_runs_nothing(page: Page, panel: Any) -> None:
    run = start(panel, f"a-crash-hostile {HOSTILE}")
    row = card(page, run).locator('tr[data-process="decode-0"]')
    expect(row).to_have_attribute("data-state", "crashed", timeout=WAIT_MS)
    row.get_by_test_id("crash").locator("summary").first.click()
    row.get_by_text("Evidence (1)").click()
    expect(row).to_contain_text(HOSTILE)
    page.evaluate("(text) => { window.pdpanel.toast(text, { tone: 'bad' }); }", HOSTILE)
    expect(page.get_by_test_id("toast")).to_contain_text(HOSTILE)
    card(page, run).get_by_test_id("stop-all").click()
    page.get_by_test_id("confirm").get_by_role("button", name="Stop all").click()
    history = page.get_by_test_id("history")
    expect(history).to_be_visible()
    if not history.evaluate("node => node.open"):
        history.locator("summary").first.click()
    expect(history.locator(f'tr[data-earlier="{run}"]')).to_contain_text("<img src=x")
    page.evaluate("(text) => { location.hash = '#run=' + encodeURIComponent(text); }", HOSTILE)
    expect(page.get_by_test_id("toast").last).to_contain_text(f"The run {HOSTILE} is not here any more")
    assert page.locator("#pd-tabs img, .pd-toasts img, .pd-header img").count() == 0
    assert page.evaluate("() => window.hacked") is None


def test_two_hundred_processes_are_filtered_and_stay_in_place(page: Page) -> None:
    result = page.evaluate(
        """async () => {
          const { store } = await import("/static-pdpanel/store.js");
          const names = Array.from({ length: 199 }, (_, place) => `decode-${place}`);
          const process = (name, role) => ({
            name, role, state: "ready", stage: "", pid: 7, port: 1, started_s: 1, cpu_percent: 1, rss_bytes: 1,
            restarts: 0, message: "", progress: null, exit_code: null, findings: [], after: [], stages: [],
          });
          const run = {
            id: "many", state: "ready", mode: "pd", model: "many", transport: "tcp", router_url: "", created_s: 1,
            links: [], other_logs: [], removed: [], notice: "", progress: null, can_stop: true, name: "", ended_s: null,
            attached: false,
            processes: [process("prefill-0", "prefill"), ...names.map((name) => process(name, "decode"))],
          };
          store.runs.set("many", run);
          store.emit("runs");
          const row = document.querySelector('[data-run="many"] tr[data-process="decode-150"]');
          let changes = 0;
          const watch = new MutationObserver((records) => { changes += records.length; });
          const all = { childList: true, characterData: true, attributes: true, subtree: true };
          watch.observe(row.closest("tbody"), all);
          store.runs.set("many", { ...run, processes: run.processes.map((each) => ({ ...each })) });
          store.emit("runs");
          await new Promise((resolve) => setTimeout(resolve));
          return [changes, row.isConnected];
        }"""
    )
    # What did not change is not touched.
    assert result == [0, True]
    many = card(page, "many")
    many.get_by_label("Filter processes").fill("decode-15 ready")
    expect(many.locator("tbody tr")).to_have_count(11)
    expect(many.get_by_test_id("filter").get_by_role("status")).to_have_text("11 of 200")
    box = many.locator(".pd-tall").bounding_box()
    assert box is not None
    assert box["height"] < 600
