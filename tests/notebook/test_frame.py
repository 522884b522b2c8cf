"""What the cell's output does in Chromium, by where the notebook's page is: pages and panel are made up, none runs."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from pdpanel.panel.notebook.frame import frame_html
from playwright.sync_api import Browser, Page, Route

LOCAL = ("http://localhost:8888", "http://127.0.0.1:8888")
PANEL = "http://127.0.0.1:7860/?ticket="


@pytest.fixture(scope="module")
def blank(chromium: Browser) -> Page:
    return chromium.new_context(ignore_https_errors=True).new_page()


def show(page: Page, notebook: str, frames: tuple[str, ...], panel: str = PANEL) -> list[str]:
    """Opens the output in a page at `notebook`; returns the addresses of its frames."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        url = route.request.url
        if url.startswith(notebook):
            text = frame_html("pdpanel-1", f"{panel}a", f"{panel}b", frames, note="Shown here.")
            route.fulfill(body=f"<!doctype html>{text}", content_type="text/html")
        else:
            asked.append(url)
            route.fulfill(body="the panel", content_type="text/html")

    page.unroute_all()
    page.route("**/*", answer)
    page.goto(f"{notebook}/lab")
    for frame in page.locator("iframe").all():
        frame.content_frame.get_by_text("the panel").wait_for()
    return [url for url in asked if "favicon" not in url]


@pytest.mark.parametrize("notebook", LOCAL)
def test_the_frame_has_the_name_of_the_address_bar(blank: Page, notebook: str) -> None:
    (url,) = show(blank, notebook, LOCAL)
    assert urlsplit(url).hostname == urlsplit(notebook).hostname
    assert url.endswith(":7860/?ticket=a")
    link = blank.get_by_role("link", name="Open the panel in a tab")
    assert link.get_attribute("href") == f"http://{urlsplit(notebook).hostname}:7860/?ticket=b"
    assert blank.get_by_text("Shown here.").is_visible()


def test_a_proxy_of_the_same_origin_is_framed(blank: Page) -> None:
    panel = "https://hub.example/user/ann/proxy/7860/?ticket="
    assert show(blank, "https://hub.example/user/ann/lab", ("https://hub.example",), panel) == [f"{panel}a"]


@pytest.mark.parametrize(
    ("notebook", "frames", "said"),
    [
        ("http://127.0.0.1:9999", LOCAL, 'launch(origin="http://127.0.0.1:9999") shows it here.'),
        ("https://hub.example", LOCAL, 'launch(origin="https://hub.example") shows it here.'),
        ("http://localhost:8888", (), 'launch(origin="http://localhost:8888") shows it here.'),
        ("https://localhost:8888", ("https://localhost:8888",), "another site than this page"),
        ("http://node1:8888", ("http://node1:8888",), "another site than this page"),
    ],
)
def test_where_the_browser_would_block_it_there_is_a_link_and_a_reason(
    blank: Page, notebook: str, frames: tuple[str, ...], said: str
) -> None:
    assert show(blank, notebook, frames) == []
    assert blank.locator("iframe").count() == 0
    assert said in blank.locator('[data-part="note"]').inner_text()
    link = blank.get_by_role("link", name="Open the panel in a tab")
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    assert (link.get_attribute("href") or "").endswith(":7860/?ticket=b")
