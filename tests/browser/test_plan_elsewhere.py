"""What comes into the Plan tab from elsewhere, and what leaves it: presets, pastes, files, starts and exports."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from plan_page import COMMA, MANY, NODES, begin, commands, control, yaml
from playwright.sync_api import Page, expect

HOSTILE = "<img src=x onerror=window.hacked=1>'; $(id)"


@pytest.fixture
def plan(page: Page) -> Iterator[Page]:
    """The Plan tab with the default deployment."""
    yield begin(page)
    page.evaluate("() => localStorage.clear()")


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


def test_remarks_on_what_was_taken_over_stay_until_something_else_is_begun(plan: Page) -> None:
    plan.get_by_role("button", name="Paste a command or config").click()
    lost = NODES.replace("--tp-size 2\npython3", "--tp-size 2 --nnodes 2 --node-rank 0\npython3")
    plan.get_by_test_id("plan-pasted").fill(lost)
    plan.get_by_role("button", name="Make a deployment of it").click()
    remarks = plan.get_by_test_id("plan-remarks")
    expect(remarks.locator("[data-finding]").first).to_contain_text("not in the deployment")
    # Whoever works with the keyboard goes on where the box was opened.
    expect(plan.get_by_role("button", name="Paste a command or config")).to_be_focused()
    control(plan, "name").fill("still-there")
    expect(plan.get_by_test_id("plan-title")).to_have_text("still-there")
    expect(remarks).to_be_visible()
    plan.reload()
    plan.get_by_role("tab", name="Plan", exact=True).click()
    expect(remarks.locator("[data-finding]").first).to_contain_text("not in the deployment")
    plan.get_by_role("button", name="Start over").click()
    expect(remarks).to_be_hidden()


def test_two_browser_tabs_keep_drafts_of_their_own(plan: Page) -> None:
    other = plan.context.new_page()
    other.goto(plan.url)
    other.get_by_role("tab", name="Plan", exact=True).click()
    for page, name in ((plan, "the-first"), (other, "the-second")):
        control(page, "name").fill(name)
        expect(page.get_by_test_id("plan-title")).to_have_text(name)
    plan.reload()
    plan.get_by_role("tab", name="Plan", exact=True).click()
    expect(plan.get_by_test_id("plan-title")).to_have_text("the-first")
    other.close()


def test_the_focus_comes_back_from_the_offer(plan: Page) -> None:
    plan.get_by_test_id("plan-deploy").press("Enter")
    expect(plan.get_by_test_id("plan-offer")).to_be_visible()
    plan.keyboard.press("Escape")
    expect(plan.get_by_test_id("plan-deploy")).to_be_focused()


def test_what_the_form_holds_beside_an_unreadable_file_outlives_a_reload(plan: Page) -> None:
    good = yaml(plan).input_value()
    yaml(plan).fill(good + "env: {\n")
    expect(plan.get_by_test_id("plan-yaml-problem")).to_contain_text("cannot be read")
    control(plan, "name").fill("not-lost")
    plan.reload()
    plan.get_by_role("tab", name="Plan", exact=True).click()
    expect(yaml(plan)).to_have_value(good + "env: {\n")
    yaml(plan).fill(good)
    expect(plan.get_by_test_id("plan-title")).to_have_text("not-lost")
