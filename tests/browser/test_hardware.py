"""The Hardware tab in Chromium: the picture, what it answers to mouse and keyboard, live traffic, and other hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from defusedxml.ElementTree import fromstring
from playwright.sync_api import FilePayload, Locator, Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
GAP = "\N{EN DASH}"
EVIL = "<img src=x onerror=window.hacked=1>"
EVIL_XML = f"""<system version="1"><cpu numaid="0" affinity="ff">
<pci busid="0000:03:00.0" class="0x030200"><gpu dev="0"/></pci>
<pci busid="0000:04:00.0" class="0x020700"><nic>
<net name="{EVIL.replace("<", "&lt;")}" speed="200000" port="1" guid="0x1"/></nic></pci>
</cpu></system>""".encode()

Show = Callable[[Page, str], Page]


@pytest.fixture
def show(panel: Any) -> Iterator[Show]:
    """Returns a function that makes a page show one of the sample hosts as the panel's own."""
    file = panel.folder / "host"

    def show_(page: Page, host: str) -> Page:
        file.write_text(host)
        page.get_by_role("tab", name="Hardware").click()
        page.get_by_role("button", name="Look again").click()
        title = {"eight_pairs": "gpu-node-07", "sixteen_nics": "train-3", "nothing": "laptop", "largest": "sixteen"}[
            host
        ]
        expect(page.get_by_test_id("hardware")).to_contain_text(title)
        expect(page.get_by_test_id("hardware")).not_to_have_attribute("aria-busy", "true")
        return page

    yield show_
    file.unlink(missing_ok=True)


def device(page: Page, name: str) -> Locator:
    return page.locator(f'[data-device="{name}"]')


def lit(page: Page) -> list[str]:
    return page.evaluate(
        "() => [...document.querySelectorAll('[data-device].pd-h-on')].map((node) => node.dataset.device)"
    )


def test_picture_shows_every_device_and_what_is_broken(page: Page, show: Show) -> None:
    show(page, "sixteen_nics")
    expect(page.locator('[data-device][data-kind="gpu"]')).to_have_count(8)
    expect(page.locator('[data-device][data-kind="nic"]')).to_have_count(16)
    expect(device(page, "rdmap5s0")).to_have_attribute("data-state", "bad")
    expect(device(page, "rdmap5s0")).to_contain_text("down")
    assert device(page, "rdmap5s0").locator(".pd-h-tick").get_attribute("d") != (
        device(page, "rdmap0s0").locator(".pd-h-tick").get_attribute("d")
    )
    expect(page.get_by_test_id("hardware-summary")).to_contain_text("13 of 16 usable")


def test_mouse_on_a_gpu_shows_its_nics_and_values(page: Page, show: Show) -> None:
    show(page, "eight_pairs")
    card = page.get_by_test_id("hardware-card")
    expect(card).to_be_hidden()
    device(page, "0000:20:00.0").hover()
    expect(card).to_be_visible()
    expect(card).to_contain_text("GPU 1")
    expect(card).to_contain_text("PIX: same switch")
    assert lit(page) == ["0000:20:00.0", "mlx5_1"]
    device(page, "mlx5_4").hover()
    expect(card).to_contain_text("mlx5_4")
    assert sorted(lit(page)) == ["0000:38:00.0", "mlx5_4"]
    page.mouse.move(2, 2)
    expect(card).to_be_hidden()
    assert lit(page) == []


def test_a_click_keeps_the_card_until_it_is_closed(page: Page, show: Show) -> None:
    show(page, "eight_pairs")
    card = page.get_by_test_id("hardware-card")
    device(page, "0000:18:00.0").click()
    expect(device(page, "0000:18:00.0")).to_have_attribute("aria-pressed", "true")
    page.mouse.move(2, 2)
    device(page, "mlx5_2").hover()
    expect(card).to_contain_text("Used by")
    page.mouse.move(2, 2)
    expect(card).to_contain_text("GPU 0")
    card.get_by_text("All other values").click()
    expect(card).to_contain_text("Default power limit")
    expect(card.locator('[title="NVML says Not Supported"]').first).to_be_visible()
    card.get_by_role("button", name="Close").click()
    expect(card).to_be_hidden()
    expect(device(page, "0000:18:00.0")).to_have_attribute("aria-pressed", "false")
    expect(device(page, "0000:18:00.0")).to_be_focused()


def test_keyboard_walks_the_picture(page: Page, show: Show) -> None:
    show(page, "eight_pairs")
    card = page.get_by_test_id("hardware-card")
    assert page.locator('[data-device][tabindex="0"]').count() == 1
    device(page, "0000:18:00.0").focus()
    expect(card).to_contain_text("GPU 0")
    for key, name in [
        ("ArrowRight", "mlx5_0"),
        ("ArrowDown", "mlx5_1"),
        ("ArrowLeft", "0000:20:00.0"),
        ("End", "eno1"),
    ]:
        page.keyboard.press(key)
        expect(device(page, name)).to_be_focused()
        expect(device(page, name)).to_have_attribute("tabindex", "0")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(device(page, "0000:18:00.0")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(device(page, "0000:18:00.0")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()


def test_what_the_cards_show_is_there_for_screen_readers(page: Page, show: Show) -> None:
    show(page, "eight_pairs")
    expect(device(page, "0000:18:00.0")).to_have_attribute(
        "aria-label", "GPU 0, H100 80GB HBM3, 0000:18:00.0, 1 warning, uses mlx5_0 (PIX)"
    )
    table = page.get_by_test_id("hardware-unseen")
    expect(table).to_contain_text("unknown: NVML says Not Supported")
    expect(table).to_contain_text("GPU-00000007-1111-2222-3333-444444444444")


def test_traffic_is_live_and_a_gap_is_a_gap(page: Page, show: Show, panel: Any) -> None:
    show(page, "sixteen_nics")
    busy = device(page, "rdmap0s0")
    expect(busy).to_contain_text("/ 25 GB/s")
    before = busy.text_content()
    expect(busy).not_to_have_text(before or "")
    expect(device(page, "rdmap15s0")).to_contain_text("↑ 0 ↓ 0 / 25 GB/s")
    expect(device(page, "rdmap5s0")).to_contain_text(f"{GAP} the port is DOWN")
    expect(page.get_by_test_id("traffic-now")).to_contain_text("GB/s")
    # The NVLinks of a GPU carry KV between workers of one host.
    expect(device(page, "0000:59:00.0")).to_contain_text("GB/sNV18")
    expect(page.get_by_test_id("hardware-summary")).to_contain_text("14 of 16 ports, 9.8 samples/s")
    cell = page.locator('[data-link="rdmap5s0:1"][data-direction="tx"]').first
    expect(cell).to_have_text(GAP)
    expect(cell).to_have_attribute("aria-label", "unknown: the port is DOWN")
    # Without new samples the old numbers are not shown as if they were of now.
    (panel.folder / "host").unlink()
    expect(page.locator('[data-link="rdmap0s0:1"]').first).to_have_text(GAP, timeout=15000)
    expect(page.get_by_test_id("traffic-now")).to_have_text(GAP)


def test_dashes_move_only_for_those_who_want_motion(page: Page, show: Show) -> None:
    show(page, "eight_pairs")
    name = "() => getComputedStyle(document.querySelector('.pd-h-wire.pd-h-busy')).animationName"
    expect(page.locator(".pd-h-busy").first).to_be_attached()
    assert page.evaluate(name) == "none"
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(name) == "pd-h-flow"


def test_findings_stand_beside_the_picture_with_their_remedy(page: Page, show: Show) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(page, "sixteen_nics")
    findings = page.get_by_test_id("findings")
    expect(findings.locator("[data-severity='error'] > ul > li")).to_have_count(3)
    picture, beside = page.get_by_test_id("host-picture").bounding_box(), findings.bounding_box()
    assert picture and beside and beside["x"] >= picture["x"] + picture["width"]
    first = findings.locator("[data-finding='port-down']").first
    expect(first).to_contain_text("workers that were given this NIC cannot start")
    evidence = first.get_by_text("/sys/class/infiniband/rdmap5s0/ports/1/state")
    expect(evidence).to_be_hidden()
    first.get_by_text("Evidence (1)").click()
    expect(evidence).to_be_visible()
    first.get_by_role("button", name="Copy the remedy for rdmap5s0").click()
    expect(first.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("() => navigator.clipboard.readText()") == "rdma link show rdmap5s0/1"
    first.get_by_role("button", name="Show rdmap5s0 in the picture").click()
    expect(device(page, "rdmap5s0")).to_be_focused()
    page.get_by_role("button", name="Copy issue report").click()
    page.wait_for_function(
        "async () => (await navigator.clipboard.readText()).startsWith('### pdpanel: `train-3.example`')"
    )


def test_what_is_shown_can_be_saved(page: Page, show: Show) -> None:
    show(page, "eight_pairs")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save probe JSON").click()
    assert saved.value.suggested_filename == "gpu-node-07.json"
    assert len(json.loads(Path(saved.value.path()).read_text())["gpus"]) == 8
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save picture").click()
    assert saved.value.suggested_filename == "gpu-node-07.svg"
    assert fromstring(Path(saved.value.path()).read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def test_another_host_is_opened_from_a_file_and_left_again(page: Page, show: Show) -> None:
    show(page, "eight_pairs")
    upload = FilePayload(name="node 9.tar.gz", mimeType="application/gzip", buffer=b"sample sixteen_nics")
    page.get_by_test_id("hardware-file").set_input_files(upload)
    label = page.get_by_test_id("hardware-label")
    expect(label).to_have_text("You look at a dump of node 9.tar.gz, not this host.")
    expect(page.get_by_test_id("hardware")).to_contain_text("train-3.example")
    expect(page.get_by_role("button", name="Open a dump or topology file")).to_have_attribute("aria-pressed", "true")
    # Another host's links are not sampled here, and this host's numbers are not theirs.
    expect(page.locator("[data-link]")).to_have_count(0)
    expect(device(page, "rdmap0s0")).not_to_contain_text("GB/s")
    page.get_by_role("button", name="This host").click()
    expect(label).to_be_hidden()
    expect(page.get_by_test_id("hardware")).to_contain_text("gpu-node-07")


def test_a_wrong_file_is_one_sentence_and_what_was_shown_stays(open_view: Any, show: Show) -> None:
    page = show(open_view(), "eight_pairs")
    upload = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"hello")
    page.get_by_test_id("hardware-file").set_input_files(upload)
    expect(page.get_by_role("alert").filter(has_text="notes.txt")).to_contain_text("file = 'notes.txt' is")
    expect(page.get_by_test_id("hardware")).to_contain_text("gpu-node-07")
    expect(page.get_by_test_id("hardware-state")).to_have_text("")
    # Nor does the page claim to show the file, and looking again is looking at what is shown.
    expect(page.get_by_role("button", name="This host")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Open a dump or topology file")).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("alert").filter(has_text="notes.txt")).to_have_count(0)
    expect(page.get_by_test_id("hardware-state")).to_contain_text("Looked at")


def test_a_file_that_is_gone_since_it_was_chosen_is_told(open_view: Any, show: Show, tmp_path: Path) -> None:
    page = show(open_view(), "eight_pairs")
    path = tmp_path / "node.tar.gz"
    path.write_bytes(b"sample sixteen_nics")
    page.get_by_test_id("hardware-file").set_input_files(path)
    expect(page.get_by_test_id("hardware-label")).to_contain_text("node.tar.gz")
    path.unlink()
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("alert").filter(has_text="node.tar.gz")).to_contain_text("choose it again")


def test_the_host_is_looked_at_once_the_panel_answers_again(open_view: Any, show: Show) -> None:
    page = show(open_view(), "eight_pairs")
    page.route("**/api/hardware", lambda route: route.abort())
    page.get_by_role("button", name="Look again").click()
    alert = page.get_by_role("alert").filter(has_text="The panel does not answer")
    expect(alert).to_be_visible()
    page.unroute("**/api/hardware")
    # The connection is lost and found again.
    page.evaluate(
        """async () => {
          const { store } = await import("/static-pdpanel/store.js");
          store.channel.drop();
        }"""
    )
    expect(alert).to_have_count(0)
    expect(page.get_by_test_id("hardware-state")).to_contain_text("Looked at")


def test_whose_host_it_is_stays_in_sight(page: Page, show: Show) -> None:
    show(page, "eight_pairs")
    upload = FilePayload(name="node.tar.gz", mimeType="application/gzip", buffer=b"sample sixteen_nics")
    page.get_by_test_id("hardware-file").set_input_files(upload)
    label = page.get_by_test_id("hardware-label")
    expect(label).to_be_visible()
    page.get_by_test_id("table-network-interfaces").scroll_into_view_if_needed()
    assert page.evaluate("() => window.scrollY") > 500
    expect(label).to_be_in_viewport()


def test_a_finding_shows_each_device_that_it_names(page: Page, show: Show) -> None:
    show(page, "nothing")
    nic = '<nic><net name="{}" speed="200000" port="1" guid="0x1"/></nic>'
    gpus = "".join(f'<pci busid="0000:0{bus}:00.0" class="0x030200"><gpu dev="{bus}"/></pci>' for bus in range(3, 5))
    far = f'<cpu numaid="1" affinity="f0"><pci busid="0000:81:00.0" class="0x020700">{nic.format("mlx5_0")}</pci></cpu>'
    text = f'<system version="1"><cpu numaid="0" affinity="0f">{gpus}</cpu>{far}</system>'
    upload = FilePayload(name="far.xml", mimeType="text/xml", buffer=text.encode())
    page.get_by_test_id("hardware-file").set_input_files(upload)
    finding = page.get_by_test_id("findings").locator("[data-finding='gpu-far-from-nics']")
    finding.get_by_role("button", name="Show 0000:04:00.0 in the picture").click()
    expect(device(page, "0000:04:00.0")).to_be_focused()


def test_names_in_a_file_are_text(page: Page, show: Show) -> None:
    show(page, "nothing")
    upload = FilePayload(name=f"{EVIL}.xml", mimeType="text/xml", buffer=EVIL_XML)
    page.get_by_test_id("hardware-file").set_input_files(upload)
    expect(page.get_by_test_id("hardware-label")).to_contain_text(f"{EVIL}.xml")
    expect(page.get_by_test_id("hardware")).to_contain_text("1 GPU")
    page.locator('[data-device][data-kind="nic"]').hover()
    expect(page.get_by_test_id("hardware-card")).to_contain_text("Usable")
    assert page.evaluate("() => window.hacked") is None
    assert page.locator(".pd-island img").count() == 0


def test_the_picture_scrolls_in_its_own_region_on_a_phone(open_view: Any, show: Show) -> None:
    page = show(open_view(390, 844), "eight_pairs")
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    wide, room = page.evaluate(
        "() => { const one = document.querySelector('.pd-hw-scroll'); return [one.scrollWidth, one.clientWidth]; }"
    )
    assert wide > room
    # On a screen with no room beside the picture what is broken comes before it.
    findings, picture = (
        page.get_by_test_id("findings").bounding_box(),
        page.get_by_test_id("host-picture").bounding_box(),
    )
    assert findings and picture and findings["y"] < picture["y"]
    device(page, "0000:18:00.0").click()
    card = page.get_by_test_id("hardware-card")
    expect(card).to_contain_text("GPU 0")
    box = card.bounding_box()
    assert box and box["x"] == 0 and box["width"] == 390 and box["y"] + box["height"] <= 844 + 1
    card.get_by_role("button", name="Close").click()
    expect(card).to_be_hidden()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_each_kind_of_host_is_accessible_and_fits(open_view: Any, show: Show, scheme: str, width: int) -> None:
    page = open_view(width, 900, scheme)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for host in ("eight_pairs", "sixteen_nics"):
        show(page, host)
        page.locator("[data-device]").first.click()
        expect(page.get_by_test_id("hardware-card")).to_be_visible()
        page.screenshot(path=SCREENSHOTS / f"hardware-{host}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, host
        results = Axe().run(page)
        serious = [
            f"{violation['id']}: {node['html'][:160]}"
            for violation in results.response["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        assert serious == [], host
