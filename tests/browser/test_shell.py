"""What all views share: the address, messages, dialogs, keys, the first steps, light and dark."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

WAIT_MS = 20_000
COVERED = """() => {
  const stack = document.querySelector(".pd-toasts").getBoundingClientRect();
  return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [role='tab']")]
    .filter((node) => !node.closest(".pd-toasts"))
    .filter((node) => {
      const box = node.getBoundingClientRect();
      return box.width > 0 && box.height > 0 && box.left < stack.right && box.right > stack.left
        && box.top < stack.bottom && box.bottom > stack.top;
    })
    .map((node) => node.textContent || node.id);
}"""


@pytest.fixture
def page(shared_page: Page) -> Page:
    return shared_page


def tab(page: Page, name: str) -> Any:
    return page.get_by_role("tab", name=name)


def say(page: Page, text: str, tone: str = "idle") -> None:
    page.evaluate("([text, tone]) => { window.pdpanel.toast(text, { tone }); }", [text, tone])


def open_link(page: Page, panel: Any, hash_: str) -> None:
    page.goto("about:blank")
    page.goto(f"{panel.url}{hash_}")
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)


def test_a_link_opens_its_tab_and_run_and_back_leads_back(page: Page, panel: Any, run_id: str) -> None:
    newer = panel.deploy()
    open_link(page, panel, f"#tab=observe&run={run_id}")
    expect(tab(page, "Observe")).to_have_attribute("aria-selected", "true")
    page.wait_for_function(f"() => window.pdpanel.selected === '{run_id}'")
    tab(page, "Logs").click()
    expect(page).to_have_url(re.compile(rf"#tab=logs&run={run_id}\b"))
    page.get_by_test_id("run-picker").select_option(newer)
    expect(page).to_have_url(re.compile(rf"run={newer}\b"))
    page.go_back()
    page.wait_for_function(f"() => window.pdpanel.selected === '{run_id}'")
    page.go_back()
    expect(tab(page, "Observe")).to_have_attribute("aria-selected", "true")
    page.go_forward()
    expect(tab(page, "Logs")).to_have_attribute("aria-selected", "true")
    page.reload()
    expect(tab(page, "Logs")).to_have_attribute("aria-selected", "true")
    panel.ask("POST", f"/api/runs/{newer}/stop")


def test_a_link_to_a_run_that_is_gone_says_so(page: Page, panel: Any, run_id: str) -> None:
    open_link(page, panel, "#tab=logs&run=long-gone")
    message = page.get_by_test_id("toast")
    expect(message.get_by_role("alert")).to_contain_text("The run long-gone is not here any more")
    expect(page).to_have_url(re.compile(r"#tab=logs(?!.*long-gone)"))
    page.wait_for_function("() => window.pdpanel.selected !== null")


def test_a_link_to_a_tab_that_does_not_exist_shows_the_first(page: Page, panel: Any) -> None:
    open_link(page, panel, "#tab=nothing")
    expect(tab(page, "Deploy")).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_messages_cover_no_control(page: Page, run_id: str, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    for name in ("Deploy", "Try it"):
        tab(page, name).click()
        say(page, f"Something happened in {name}.", "good")
        expect(page.get_by_test_id("toast").last).to_contain_text(name)
        page.wait_for_function(f"({COVERED})().length === 0")
        expect(page.get_by_test_id("toasts")).to_be_in_viewport(ratio=0.99)
    page.set_viewport_size({"width": 1440, "height": 900})


@pytest.mark.parametrize("height", [844, 600])
def test_several_messages_on_a_small_window_cover_no_control_wherever_the_page_stands(
    page: Page, run_id: str, height: int
) -> None:
    """A form is a wall of controls: where no gap is as high as the messages, the newest stands in one line or less."""
    page.set_viewport_size({"width": 390, "height": height})
    say(page, "The first of two messages, which takes more than one line on a small window like this one.", "bad")
    say(page, "The second of two messages, which takes more than one line as well, as most of them do.", "bad")
    forms: set[str] = set()
    for name in ("Deploy", "Benchmark"):
        tab(page, name).click()
        end = page.evaluate("() => document.documentElement.scrollHeight - innerHeight")
        for share in range(6):
            page.evaluate("(y) => scrollTo(0, y)", end * share / 5)
            page.wait_for_function(f"({COVERED})().length === 0")
            expect(page.get_by_test_id("toasts")).to_be_in_viewport(ratio=0.99)
            forms.add(page.get_by_test_id("toasts").get_attribute("data-form") or "")
    assert forms - {"all"}, "the page was never full, so nothing was tested"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1440, "height": 900})


def test_messages_in_one_line_are_read_in_full_on_request(page: Page) -> None:
    wall = """(add) => {
      document.getElementById("wall")?.remove();
      if (!add) return;
      const wall = Object.assign(document.createElement("div"), { id: "wall" });
      wall.style.cssText = "position: fixed; inset: 0; z-index: 1; display: grid; grid-template-columns: 40% 60%";
      wall.append(...Array.from({ length: 80 }, (_, index) => document.createElement(index % 2 ? "span" : "button")));
      document.body.append(wall);
    }"""
    page.set_viewport_size({"width": 390, "height": 844})
    say(page, "The first message.", "bad")
    say(page, "The second message, which is long enough to be cut off where there is but one line for it.", "bad")
    page.evaluate(wall, True)
    stack, more = page.get_by_test_id("toasts"), page.get_by_test_id("toast-more")
    expect(stack).not_to_have_attribute("data-form", "all")
    expect(page.get_by_role("alert").filter(has_text="The second message")).to_have_count(1)
    more.locator("visible=true").click()
    expect(stack).to_have_attribute("data-form", "all")
    expect(page.get_by_role("alert").filter(has_text="The first message.")).to_be_visible()
    expect(page.get_by_role("button", name="Dismiss message").last).to_be_focused()
    page.get_by_role("button", name="Dismiss message").last.evaluate("(node) => node.blur()")
    expect(stack).not_to_have_attribute("data-form", "all")
    page.evaluate(wall, False)
    page.set_viewport_size({"width": 1440, "height": 900})


def test_messages_are_said_and_dismissed_by_keyboard(page: Page) -> None:
    help_button = page.get_by_test_id("help")
    help_button.focus()
    say(page, "The first.", "bad")
    say(page, "The second <b>is text</b>.")
    expect(page.get_by_role("alert").filter(has_text="The first.")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="The second <b>is text</b>.")).to_be_visible()
    page.get_by_role("button", name="Dismiss message").last.focus()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("toast")).to_have_count(1)
    expect(page.get_by_role("button", name="Dismiss message")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("toast")).to_have_count(0)
    expect(help_button).to_be_focused()


def test_keys_open_tabs_and_search_and_keep_quiet_while_one_types(page: Page, run_id: str) -> None:
    page.get_by_test_id("theme").focus()
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(tab(page, "Observe")).to_have_attribute("aria-selected", "true")
    expect(tab(page, "Observe")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("/")
    expect(tab(page, "Logs")).to_have_attribute("aria-selected", "true")
    expect(page.locator("input[type='search']:focus")).to_have_count(1)
    page.keyboard.type("g?d")
    expect(tab(page, "Logs")).to_have_attribute("aria-selected", "true")
    expect(page.locator("input[type='search']:focus")).to_have_value("g?d")


def test_help_explains_the_keys_switches_them_off_and_gives_the_focus_back(page: Page) -> None:
    button = page.get_by_test_id("help")
    button.focus()
    page.keyboard.press("?")
    dialog = page.get_by_test_id("help-dialog")
    expect(dialog).to_contain_text("Open Observe")
    dialog.get_by_test_id("shortcuts-on").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("?")
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(tab(page, "Deploy")).to_have_attribute("aria-selected", "true")
    expect(dialog).to_have_count(0)
    button.click()
    dialog.get_by_test_id("shortcuts-on").check()
    dialog.get_by_role("button", name="Close").click()


def test_the_skip_link_leads_past_the_tabs(page: Page) -> None:
    page.locator("body").click(position={"x": 1, "y": 1})
    link = page.get_by_role("link", name="Skip to the view")
    link.focus()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("tabpanel")).to_be_focused()


def test_the_first_steps_are_shown_hidden_for_good_and_found_again(open_page: Any, run_id: str) -> None:
    page: Page = open_page()
    guide = page.get_by_test_id("guide")
    page.get_by_test_id("help").click()
    page.get_by_role("button", name="Show the first steps").click()
    expect(guide.get_by_role("listitem")).to_have_count(3)
    guide.get_by_role("button", name="Go to the form").click()
    expect(page.get_by_role("combobox", name="Model")).to_be_focused()
    guide.get_by_role("button", name="Open Try it").click()
    expect(tab(page, "Try it")).to_have_attribute("aria-selected", "true")
    page.get_by_test_id("guide-close").click()
    expect(guide).to_be_hidden()
    page.reload()
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live")
    expect(guide).to_be_hidden()


def test_the_first_steps_say_that_they_are_done_and_go(open_page: Any, run_id: str) -> None:
    page: Page = open_page()
    guide = page.get_by_test_id("guide")
    page.evaluate("() => localStorage.setItem('pdpanel-guide', 'shown')")
    page.clock.install()
    page.reload()
    expect(guide).to_be_visible()
    expect(page.get_by_test_id("guide-done")).to_have_text("")
    page.wait_for_function("() => window.pdpanel.selected !== null")
    tab(page, "Observe").click()
    expect(page.get_by_test_id("guide-done")).to_contain_text("All three steps are done")
    expect(guide).to_be_visible()
    page.clock.fast_forward(11_000)
    expect(guide).to_be_hidden()
    page.reload()
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live")
    expect(guide).to_be_hidden()
    page.get_by_test_id("help").click()
    page.get_by_role("button", name="Show the first steps").click()
    expect(guide).to_be_visible()


def test_light_and_dark_follow_the_system_at_once(page: Page) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("(light) => getComputedStyle(document.body).backgroundColor !== light", arg=light)
    page.emulate_media(color_scheme="light")
    page.wait_for_function("(light) => getComputedStyle(document.body).backgroundColor === light", arg=light)


def test_a_simulated_host_is_marked_on_every_view(page: Page) -> None:
    expect(page.get_by_test_id("simulated")).to_be_hidden()
    page.evaluate(
        """async () => {
          const { store } = await import("/static-pdpanel/store.js");
          store.simulated = true;
          store.emit("runs");
        }"""
    )
    expect(page.get_by_test_id("simulated")).to_have_text("SIMULATED")
    for each in page.get_by_role("tab").all():
        each.click()
        expect(page.get_by_role("tabpanel").get_by_test_id("simulated-note")).to_be_visible()
