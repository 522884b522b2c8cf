"""The Plan and Export tabs in Chromium: form, file and preview follow each other, and nothing that is typed is lost."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
HOSTILE = "<img src=x onerror=window.hacked=1>'; $(id)"
COMMA = """# as a page of 2025 has it
python -m sglang_router.launch_router --pd-disaggregation \\
  --prefill http://192.168.0.137:30000 8998 \\
  --decode "http://192.168.0.137:30001,http://192.168.0.140:30001" \\
  --host 0.0.0.0 --port 8000
"""
NODES = """python -m sglang.launch_server --model-path Qwen/Qwen2.5-7B-Instruct --disaggregation-mode prefill \\
  --port 30000 --host 192.168.0.137 --tp-size 2
python -m sglang.launch_server --model-path Qwen/Qwen2.5-7B-Instruct --disaggregation-mode decode \\
  --port 30001 --host 192.168.0.140 --tp-size 2
python3 -m sglang_router.launch_router --pd-disaggregation --prefill "http://192.168.0.137:30000" 8998 \\
  --decode "http://192.168.0.140:30001" --policy round_robin --host 0.0.0.0 --port 8000
"""
MANY = """version: 1
name: many
engine: sglang
engine_version: '0.5.23'
model: deepseek-ai/DeepSeek-V3
workers: {tp: 8}
prefill: {count: 2, hosts: [node1, node2]}
decode: {count: 2, hosts: [node3, node4]}
hosts:
  node1: {address: 10.0.0.1, gpus: 8, gpu: H100, nics: [mlx5_0, mlx5_1]}
  node2: {address: 10.0.0.2, gpus: 8, gpu: H100, nics: [mlx5_0, mlx5_1]}
  node3: {address: 10.0.0.3, gpus: 8, gpu: H100, nics: [mlx5_0, mlx5_1]}
  node4: {address: 10.0.0.4, gpus: 8, gpu: H100, nics: [mlx5_0, mlx5_1]}
"""


def yaml(page: Page) -> Locator:
    return page.get_by_test_id("plan-yaml")


def commands(page: Page) -> Locator:
    return page.get_by_test_id("plan-commands")


def row(page: Page, path: str) -> Locator:
    return page.locator(f'[data-path="{path}"]')


def control(page: Page, path: str) -> Locator:
    return row(page, path).locator("input, select, textarea").first


def section(page: Page, name: str) -> None:
    box = page.locator(f'[data-section="{name}"]')
    if box.get_attribute("open") is None:
        box.locator("summary").first.click()


@pytest.fixture
def plan(page: Page) -> Iterator[Page]:
    """The Plan tab with the default deployment."""
    page.get_by_role("tab", name="Plan").click()
    page.get_by_role("button", name="Start over").click()
    expect(commands(page)).to_contain_text("launch_router")
    yield page
    page.evaluate("() => localStorage.clear()")


def test_form_file_and_preview_follow_each_other(plan: Page) -> None:
    control(plan, "decode.count").fill("3")
    expect(yaml(plan)).to_have_value(re.compile(r"decode: \{count: 3\}"))
    expect(commands(plan)).to_contain_text("decode-2")
    expect(plan.get_by_test_id("plan-picture").get_by_text("decode-2")).to_be_visible()
    yaml(plan).fill("# my own words\n" + yaml(plan).input_value().replace("count: 3", "count: 2"))
    expect(control(plan, "decode.count")).to_have_value("2")
    expect(commands(plan)).not_to_contain_text("decode-2")
    control(plan, "model").fill("Qwen/Qwen3-8B")
    expect(commands(plan).locator("pre").first).to_contain_text("--model-path Qwen/Qwen3-8B")
    expect(yaml(plan)).to_have_value(re.compile(r"^# my own words\n"))
    expect(plan.get_by_test_id("plan-speed")).to_contain_text(re.compile(r"planned in [0-9.]+ ms"))


def test_a_dialect_shows_its_own_fields_and_writes_its_own_commands(plan: Page) -> None:
    expect(row(plan, "workers.tp")).to_be_hidden()
    control(plan, "engine").select_option(label="SGLang")
    expect(commands(plan)).to_contain_text("sglang.launch_server")
    section(plan, "workers")
    expect(row(plan, "workers.tp")).to_be_visible()
    control(plan, "workers.tp").fill("8")
    expect(commands(plan)).to_contain_text("--tp")
    offered = control(plan, "transport").locator("option").all_text_contents()
    assert {"nixl", "ascend"} <= set(offered)
    control(plan, "engine").select_option(label="vLLM")
    expect(commands(plan)).to_contain_text("vllm serve")
    expect(row(plan, "ascend.via_mooncake")).to_be_hidden()
    control(plan, "engine").select_option(label="Bundled engine")
    # What the next dialect does not know is named, stays in sight, and goes with one press.
    expect(row(plan, "workers.tp")).to_be_visible()
    expect(row(plan, "workers.tp")).to_contain_text("means nothing to the dialect bundled")
    plan.get_by_test_id("plan-foreign").get_by_role("button", name="Remove").click()
    expect(row(plan, "workers.tp")).to_be_hidden()
    expect(commands(plan)).to_contain_text("pdpanel.engine.launch_server")


def test_an_error_stands_beside_its_field_and_the_last_plan_stays(plan: Page) -> None:
    control(plan, "prefill.count").fill("two")
    note = row(plan, "prefill.count").locator(".pd-plan-note")
    expect(note).to_contain_text("'two' is not a whole number; write a whole number")
    expect(control(plan, "prefill.count")).to_have_attribute("aria-invalid", "true")
    expect(control(plan, "prefill.count")).to_have_value("two")
    expect(plan.get_by_test_id("plan-error")).to_contain_text("prefill.count")
    expect(commands(plan)).to_contain_text("prefill-0")
    expect(plan.get_by_test_id("plan-deploy")).to_be_disabled()
    section(plan, "router")
    control(plan, "router.port").fill("70000")
    control(plan, "prefill.count").fill("1")
    expect(plan.get_by_test_id("plan-error")).to_contain_text("router.port")
    plan.locator('[data-section="router"] summary').first.click()
    plan.get_by_test_id("plan-error").get_by_role("button", name="Show the field").click()
    expect(control(plan, "router.port")).to_be_focused()
    expect(row(plan, "router.port")).to_contain_text("write a port from 1 to 65535")
    control(plan, "router.port").fill("9000")
    expect(plan.get_by_test_id("plan-error")).to_be_hidden()
    expect(commands(plan)).to_contain_text("--port 9000")


def test_a_broken_file_wipes_nothing_and_can_be_undone(plan: Page) -> None:
    control(plan, "decode.count").fill("2")
    expect(commands(plan)).to_contain_text("decode-1")
    good = yaml(plan).input_value()
    yaml(plan).fill(good + "router: [")
    expect(plan.get_by_test_id("plan-yaml-problem")).to_contain_text("line")
    expect(control(plan, "decode.count")).to_have_value("2")
    expect(commands(plan)).to_contain_text("decode-1")
    yaml(plan).fill(good + "router: {port: 9001}\n")
    expect(plan.get_by_test_id("plan-yaml-problem")).to_be_empty()
    expect(commands(plan)).to_contain_text("--port 9001")
    plan.get_by_role("button", name="Back to it").click()
    expect(control(plan, "decode.count")).to_have_value("1")
    plan.get_by_role("button", name="Undo").click()
    expect(yaml(plan)).to_have_value(good + "router: {port: 9001}\n")


def test_the_draft_survives_a_reload(plan: Page) -> None:
    control(plan, "model").fill("half/typed")
    expect(yaml(plan)).to_have_value(re.compile("half/typed"))
    yaml(plan).fill(yaml(plan).input_value() + "router: [")
    plan.reload()
    plan.get_by_role("tab", name="Plan").click()
    expect(yaml(plan)).to_have_value(re.compile(r"half/typed(.|\n)*router: \["))
    expect(plan.get_by_test_id("plan-begun")).to_contain_text("changed since")


def test_a_preset_is_found_taken_compared_and_saved(plan: Page) -> None:
    plan.get_by_role("button", name="Presets").click()
    plan.get_by_test_id("preset-search").fill("smollm2 unified")
    rows = plan.get_by_test_id("presets").get_by_role("button")
    expect(rows).to_have_count(1)
    rows.first.click()
    expect(plan.get_by_test_id("plan-begun")).to_contain_text("preset smollm2-unified")
    expect(commands(plan)).to_contain_text("unified-0")
    control(plan, "name").fill("mine")
    plan.get_by_role("button", name="Changes").click()
    diff = plan.get_by_test_id("plan-diff")
    expect(diff.locator('[data-sign="added"]')).to_have_text(re.compile(r"\+added: name: mine"))
    expect(diff.locator('[data-sign="removed"]')).to_contain_text("name: smollm2-unified")
    plan.get_by_role("group", name="Compare").get_by_role("button", name="Commands").click()
    expect(plan.get_by_test_id("plan-diff-words")).to_contain_text("Nothing differs")
    plan.get_by_label("Name of the preset").fill("browser-test")
    plan.get_by_role("button", name="Save as preset").click()
    expect(plan.get_by_test_id("plan-outcome")).to_contain_text("Saved as")
    plan.get_by_role("button", name="Save as preset").click()
    expect(plan.get_by_test_id("plan-outcome")).to_contain_text("You have a preset browser-test already")
    plan.get_by_role("button", name="Replace it").click()
    expect(plan.get_by_test_id("plan-outcome")).to_contain_text("Saved as")
    plan.get_by_role("button", name="Presets").click()
    plan.get_by_test_id("preset-search").fill("browser-test")
    expect(rows.first).to_contain_text("yours")


def test_a_pasted_command_is_judged_corrected_and_taken(plan: Page) -> None:
    plan.get_by_role("button", name="Paste a command or config").click()
    plan.get_by_test_id("plan-pasted").fill(COMMA)
    found = plan.locator(".pd-plan-paste [data-finding]")
    expect(found.first).to_be_visible()
    expect(plan.locator('.pd-plan-paste [data-severity="error"]').first).to_contain_text("192.168.0.140:30001")
    right = plan.get_by_test_id("plan-corrected")
    expect(right).to_contain_text("--decode http://192.168.0.137:30001 --decode http://192.168.0.140:30001")
    right.get_by_role("button", name="Take it").click()
    expect(plan.get_by_test_id("plan-pasted")).to_have_value(re.compile("--decode http://192.168.0.140:30001"))
    expect(right).to_be_hidden()


def test_pasted_commands_become_a_deployment(plan: Page) -> None:
    plan.get_by_role("button", name="Paste a command or config").click()
    plan.get_by_test_id("plan-pasted").fill(NODES)
    expect(plan.get_by_test_id("plan-pasted-kind")).to_contain_text("command or script")
    plan.get_by_role("button", name="Make a deployment of it").click()
    expect(control(plan, "engine")).to_have_value("sglang")
    expect(control(plan, "prefill.hosts")).to_have_value("192.168.0.137")
    expect(commands(plan)).to_contain_text("--model-path Qwen/Qwen2.5-7B-Instruct")
    expect(plan.get_by_test_id("plan-picture").locator(".pd-plan-host")).to_have_count(2)
    expect(plan.get_by_test_id("plan-pasted")).to_be_hidden()
    # A deployment of other hosts is not started here, and the page says why.
    plan.get_by_test_id("plan-deploy").click()
    expect(plan.get_by_test_id("plan-offer")).to_contain_text("sglang.launch_server")
    plan.get_by_role("button", name="Cancel").click()


def test_a_pasted_deployment_keeps_its_comments(plan: Page) -> None:
    plan.get_by_role("button", name="Paste a command or config").click()
    plan.get_by_test_id("plan-pasted").fill("# from a friend\n" + MANY)
    expect(plan.get_by_test_id("plan-pasted-kind")).to_contain_text("a deployment")
    plan.get_by_role("button", name="Make a deployment of it").click()
    expect(yaml(plan)).to_have_value(re.compile("^# from a friend\n"))
    expect(plan.get_by_test_id("plan-title")).to_have_text("many")
    picture = plan.get_by_test_id("plan-picture")
    expect(picture.locator(".pd-plan-host")).to_have_count(4)
    expect(picture.locator(".pd-wire-kv")).to_have_count(4)
    expect(picture.locator('.pd-plan-gpu[data-role="prefill"]')).to_have_count(16)
    plan.get_by_test_id("plan-node").select_option("node3")
    expect(commands(plan)).to_contain_text("decode-0")
    expect(commands(plan)).not_to_contain_text("prefill-0")
    plan.get_by_role("button", name="Next node").click()
    expect(commands(plan)).to_contain_text("decode-1")


def test_nics_are_left_to_the_engine_listed_or_mapped(plan: Page, panel: Any) -> None:
    (panel.folder / "host").write_text("eight_pairs")
    try:
        control(plan, "engine").select_option(label="SGLang")
        nics = row(plan, "nics")
        nics.locator("select").select_option("list")
        nics.get_by_label("mlx5_1").check()
        expect(yaml(plan)).to_have_value(re.compile(r"nics: \[mlx5_1\]"))
        expect(commands(plan)).to_contain_text("--disaggregation-ib-device mlx5_1")
        nics.get_by_label("RDMA NICs by name").fill("mlx5_2 mlx5_3")
        expect(nics.get_by_label("mlx5_1")).not_to_be_checked()
        nics.locator("select").select_option("map")
        nics.get_by_role("button", name="Take this host's").click()
        expect(nics.locator("textarea")).to_have_value(re.compile("^0: mlx5_0\n1: mlx5_1\n"))
        expect(yaml(plan)).to_have_value(re.compile(r"'0': \[mlx5_0\]"))
    finally:
        (panel.folder / "host").unlink()


def test_hostile_text_is_shown_as_text_and_quoted(plan: Page) -> None:
    control(plan, "model").fill(HOSTILE)
    expect(commands(plan)).to_contain_text("'<img src=x onerror=window.hacked=1>'\"'\"'; $(id)'")
    plan.get_by_role("button", name="Changes").click()
    expect(plan.get_by_test_id("plan-diff")).to_contain_text("onerror")
    plan.get_by_test_id("plan-deploy").click()
    offer = plan.get_by_test_id("plan-offer")
    expect(offer.get_by_text(HOSTILE, exact=True).first).to_be_visible()
    offer.get_by_role("button", name="Cancel").click()
    plan.get_by_role("button", name="Paste a command or config").click()
    plan.get_by_test_id("plan-pasted").fill(f"python -m sglang.launch_server --model-path {HOSTILE!r} --{HOSTILE}")
    expect(plan.get_by_test_id("plan-pasted-kind")).to_contain_text("command or script")
    plan.get_by_role("tab", name="Export").click()
    expect(plan.get_by_test_id("export-file")).to_contain_text("onerror")
    assert plan.evaluate("() => window.hacked") is None
    assert plan.locator("[data-island=plan] img, [data-island=export] img").count() == 0


def test_a_start_shows_every_argument_and_variable_first(plan: Page) -> None:
    yaml(plan).fill(yaml(plan).input_value() + "env: {LD_PRELOAD: /tmp/x.so}\n")
    expect(commands(plan)).to_contain_text("LD_PRELOAD")
    plan.get_by_test_id("plan-deploy").click()
    offer = plan.get_by_test_id("plan-offer")
    expect(offer).to_contain_text("Start 3 processes on this host?")
    expect(offer.get_by_text("LD_PRELOAD=/tmp/x.so").first).to_be_visible()
    plan.get_by_test_id("plan-start").click()
    expect(plan.locator("article.pd-card").first).to_be_visible()
    expect(plan.get_by_role("tab", name="Deploy")).to_have_attribute("aria-selected", "true")


def test_an_export_is_looked_at_and_downloaded(plan: Page, tmp_path: Path) -> None:
    control(plan, "name").fill("take-away")
    expect(plan.get_by_test_id("plan-title")).to_have_text("take-away")
    plan.get_by_role("button", name="Export …").click()
    plan.locator('input[name="pd-export-format"][value="sh"]').check()
    files = plan.get_by_test_id("export-files")
    expect(files.locator("[data-path='deployment.yaml']")).to_be_visible()
    files.locator("[data-path='deployment.yaml']").click()
    expect(plan.get_by_test_id("export-file")).to_contain_text("name: take-away")
    with plan.expect_download() as download:
        plan.get_by_test_id("export-zip").click()
    assert download.value.suggested_filename == "take-away-sh.zip"
    path = tmp_path / "export.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert "deployment.yaml" in names
        assert files.locator("button").count() == len(names)


def test_late_answers_are_dropped(plan: Page) -> None:
    """The answer to an older text must not overwrite a newer one, however long it takes."""
    held: list[Any] = []

    def hold(route: Any) -> None:
        if "first-name" in route.request.post_data and not held:
            held.append(route)
        else:
            route.continue_()

    plan.route("**/api/plan/preview", hold)
    control(plan, "name").fill("first-name")
    plan.wait_for_function("() => window.pdpanel !== undefined")
    expect(plan.get_by_test_id("plan-title")).not_to_have_text("first-name")
    control(plan, "name").fill("second-name")
    expect(plan.get_by_test_id("plan-title")).to_have_text("second-name")
    for route in held:
        route.abort()
    expect(yaml(plan)).to_have_value(re.compile("name: second-name"))
    plan.unroute("**/api/plan/preview")


def test_keyboard_alone_changes_the_plan(plan: Page) -> None:
    control(plan, "name").focus()
    names = []
    for _ in range(3):
        names.append(plan.evaluate("() => document.activeElement.closest('[data-path]')?.dataset.path"))
        plan.keyboard.press("Tab")
    assert names == ["name", "model", "served_model_name"]
    plan.keyboard.press("Shift+Tab")
    plan.keyboard.type("served-as")
    expect(commands(plan)).to_contain_text("--served-model-name served-as")
    box = plan.locator('[data-section="limits"]')
    box.locator("summary").first.focus()
    plan.keyboard.press("Enter")
    expect(box).to_have_attribute("open", "")
    yaml(plan).focus()
    plan.keyboard.press("Tab")
    assert plan.evaluate("() => document.activeElement.tagName") != "TEXTAREA"


def test_a_file_of_the_person_is_opened(plan: Page, tmp_path: Path) -> None:
    path = tmp_path / "four nodes.yaml"
    path.write_text(MANY)
    plan.get_by_test_id("plan-file").set_input_files(path)
    expect(plan.get_by_test_id("plan-title")).to_have_text("many")
    expect(plan.get_by_test_id("plan-begun")).to_contain_text("four nodes.yaml")
    (tmp_path / "run.sh").write_text(COMMA)
    plan.get_by_test_id("plan-file").set_input_files(tmp_path / "run.sh")
    expect(plan.get_by_test_id("plan-corrected")).to_be_visible()
    expect(plan.get_by_test_id("plan-title")).to_have_text("many")
    (tmp_path / "huge.yaml").write_text("x" * ((1 << 20) + 1))
    plan.get_by_test_id("plan-file").set_input_files(tmp_path / "huge.yaml")
    expect(plan.get_by_test_id("plan-outcome")).to_contain_text("huge.yaml has more than 1 MiB")


def test_many_hosts_are_tiles_and_one_node_is_listed(plan: Page) -> None:
    text = MANY.partition("hosts:\n")[0].replace("count: 2, hosts: [node1, node2]", "count: 24, hosts: ['node[01-24]']")
    text = text.replace("count: 2, hosts: [node3, node4]", "count: 40, hosts: ['node[25-64]']")
    yaml(plan).fill(text)
    expect(plan.get_by_test_id("plan-picture").locator(".pd-plan-tile-name")).to_have_count(64)
    expect(plan.get_by_test_id("plan-picture")).to_contain_text("24 × 40 pairs")
    expect(plan.get_by_test_id("plan-node").locator("option")).to_have_count(64)
    assert commands(plan).locator("pre").count() < 8


def _look(page: Page, name: str, scheme: str, width: int) -> None:
    """Takes a picture, and fails for what axe finds serious and for a page wider than the screen."""
    page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    serious = [
        f"{violation['id']}: {node['html'][:160]}"
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert serious == []


SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDTHS = pytest.mark.parametrize("width", [1440, 390])


def _planned(open_page: Any, scheme: str, width: int) -> Page:
    page = open_page(width, 900, scheme)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.get_by_role("tab", name="Plan").click()
    expect(commands(page)).to_contain_text("launch_router")
    return page


@SCHEMES
@WIDTHS
def test_a_plan_of_several_hosts_is_accessible_and_fits(open_page: Any, scheme: str, width: int) -> None:
    page = _planned(open_page, scheme, width)
    yaml(page).fill(MANY)
    expect(page.get_by_test_id("plan-title")).to_have_text("many")
    for name in ("hosts", "transfer", "workers", "router"):
        section(page, name)
    _look(page, "plan-many", scheme, width)


@SCHEMES
@WIDTHS
def test_errors_and_corrections_are_accessible_and_fit(open_page: Any, scheme: str, width: int) -> None:
    page = _planned(open_page, scheme, width)
    page.get_by_role("button", name="Changes").click()
    yaml(page).fill(MANY.replace("tp: 8", "tp: eight"))
    expect(page.get_by_test_id("plan-diff").locator("li").first).to_be_visible()
    expect(page.get_by_test_id("plan-error")).to_be_visible()
    page.get_by_role("button", name="Paste a command or config").click()
    page.get_by_test_id("plan-pasted").fill(COMMA)
    expect(page.get_by_test_id("plan-corrected")).to_be_visible()
    _look(page, "plan-error", scheme, width)


@SCHEMES
@WIDTHS
def test_presets_and_what_would_start_are_accessible_and_fit(open_page: Any, scheme: str, width: int) -> None:
    page = _planned(open_page, scheme, width)
    page.get_by_role("button", name="Presets").click()
    expect(page.get_by_test_id("presets").get_by_role("button").first).to_be_visible()
    page.get_by_test_id("plan-deploy").click()
    expect(page.get_by_test_id("plan-offer")).to_be_visible()
    _look(page, "plan-offer", scheme, width)
