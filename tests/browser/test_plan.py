"""The Plan tab in Chromium: form, file and preview follow each other, and nothing that is typed is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from plan_page import MANY, begin, commands, control, row, section, yaml
from playwright.sync_api import Page, expect


@pytest.fixture
def plan(page: Page) -> Iterator[Page]:
    """The Plan tab with the default deployment."""
    yield begin(page)
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
    expect(row(plan, "workers.pp")).to_be_hidden()
    control(plan, "engine").select_option(label="SGLang")
    expect(commands(plan)).to_contain_text("sglang.launch_server")
    section(plan, "workers")
    expect(row(plan, "workers.pp")).to_be_visible()
    control(plan, "workers.pp").fill("8")
    expect(commands(plan)).to_contain_text("--pp")
    offered = control(plan, "transport").locator("option").all_text_contents()
    assert {"nixl", "ascend"} <= set(offered)
    control(plan, "engine").select_option(label="vLLM")
    expect(commands(plan)).to_contain_text("vllm serve")
    expect(row(plan, "ascend.via_mooncake")).to_be_hidden()
    control(plan, "engine").select_option(label="Bundled engine")
    # What the next dialect does not know is named, stays in sight, and goes with one press.
    expect(row(plan, "workers.pp")).to_be_visible()
    expect(row(plan, "workers.pp")).to_contain_text("means nothing to the dialect bundled")
    plan.get_by_test_id("plan-foreign").get_by_role("button", name="Remove").click()
    expect(row(plan, "workers.pp")).to_be_hidden()
    expect(commands(plan)).to_contain_text("pdpanel.engine.launch_server")


def test_what_a_start_would_meet_stands_beside_the_plan_and_a_fix_changes_the_text(plan: Page) -> None:
    check, summary = plan.get_by_test_id("plan-check"), plan.get_by_test_id("plan-check-summary")
    expect(summary).to_have_text("Nothing stands in the way of a start.")
    yaml(plan).fill("# mine\nname: pd\nmodel: taken\ntransport: nixl\nprefill: {count: 1}\ndecode: {count: 1}\n")
    expect(summary).to_have_text("A start would fail now.")
    check.get_by_role("button", name="Use port 8001 instead").click()
    expect(yaml(plan)).to_have_value(re.compile(r"^# mine\n[^$]*router:\s*\{?\s*port: 8001"))
    toast = plan.get_by_test_id("toast").last
    expect(toast).to_contain_text("Use port 8001 instead: router.port is 8001 in the text now.")
    expect(check).not_to_contain_text("8000")
    check.get_by_role("button", name="Use tcp instead of nixl").click()
    expect(yaml(plan)).to_have_value(re.compile("transport: tcp"))
    expect(summary).to_have_text("Nothing stands in the way of a start.")
    plan.get_by_test_id("toast").last.get_by_role("button", name="Undo").click()
    expect(yaml(plan)).to_have_value(re.compile("transport: nixl"))
    yaml(plan).fill("prefill: [")
    expect(check).to_be_hidden()


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


def test_many_hosts_are_tiles_and_one_node_is_listed(plan: Page) -> None:
    text = MANY.partition("hosts:\n")[0].replace("count: 2, hosts: [node1, node2]", "count: 24, hosts: ['node[01-24]']")
    text = text.replace("count: 2, hosts: [node3, node4]", "count: 40, hosts: ['node[25-64]']")
    yaml(plan).fill(text)
    expect(plan.get_by_test_id("plan-picture").locator(".pd-plan-tile-name")).to_have_count(64)
    expect(plan.get_by_test_id("plan-picture")).to_contain_text("24 \N{MULTIPLICATION SIGN} 40 pairs")
    expect(plan.get_by_test_id("plan-node").locator("option")).to_have_count(64)
    assert commands(plan).locator("pre").count() < 8
