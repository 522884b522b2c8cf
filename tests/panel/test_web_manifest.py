"""The web app manifest: behind the door, linked with its cookie, and every file that it names is there."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urljoin

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pdpanel.panel.access.access import Access
from pdpanel.panel.web.guard import Guard
from pdpanel.panel.web.manifest_routes import manifest_routes

STATIC = Path(__file__).parents[2] / "panel" / "web" / "static"
LAYOUT = Path(__file__).parents[2] / "panel" / "web" / "layout.py"


def test_the_manifest_needs_the_cookie_and_names_what_is_there() -> None:
    app = FastAPI()
    app.include_router(manifest_routes())
    guarded = Guard(app, Access.for_port(7860, "t"))  # pyright: ignore[reportArgumentType]
    with TestClient(guarded, base_url="http://127.0.0.1:7860") as client:  # pyright: ignore[reportArgumentType]
        assert client.get("/manifest.webmanifest").status_code == 401
        client.cookies.set("pdpanel-7860", "t")
        answer = client.get("/manifest.webmanifest")
    assert answer.headers["content-type"] == "application/manifest+json"
    manifest = answer.json()
    page = "https://hub.example/user/ann/proxy/7860/"
    assert manifest["display"] == "standalone"
    assert urljoin(f"{page}manifest.webmanifest", manifest["start_url"]) == page
    for icon in manifest["icons"]:
        prefix, _, name = icon["src"].rpartition("/")
        assert prefix == "./static-pdpanel" and (STATIC / name).is_file()


def test_the_page_links_it_with_its_cookie() -> None:
    assert '<link rel="manifest" href="./manifest.webmanifest" crossorigin="use-credentials">' in LAYOUT.read_text()
