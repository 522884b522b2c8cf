"""A panel with users and TLS, as a person meets it: login, the live page over wss, sign out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from door_panel import door_panel
from pdpanel.panel.access.password import hash_password
from playwright.sync_api import Browser, expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate"),
]


def make_certificate(folder: Path) -> list[str]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    key.chmod(0o600)
    return ["--tls-cert", str(cert), "--tls-key", str(key)]


def test_person_signs_in_works_and_signs_out(chromium: Browser, tmp_path: Path) -> None:
    users = ["--auth", f"ann:{hash_password('correct horse').text()}"]
    with door_panel(tmp_path / "panel", [*users, *make_certificate(tmp_path)], token="") as panel:
        context = chromium.new_context(ignore_https_errors=True)
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        base = f"https://localhost:{panel.port}"
        page.goto(f"{base}/")
        assert page.url == f"{base}/login"
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert Axe().run(page).violations_count == 0
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")

        page.get_by_label("User").fill("ann")
        page.get_by_label("Password").fill("wrong horse")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("User or password is wrong.")
        expect(page.get_by_label("User")).to_have_value("ann")

        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=40_000)
        assert page.url.split("#")[0] == f"{base}/"
        (cookie,) = context.cookies()
        assert cookie.get("name") == f"__Host-pdpanel-{panel.port}"
        assert (cookie.get("httpOnly"), cookie.get("secure"), cookie.get("sameSite")) == (True, True, "Strict")
        assert page.evaluate("() => document.cookie") == ""

        page.set_viewport_size({"width": 1440, "height": 900})
        page.get_by_test_id("sign-out").click()
        expect(page.get_by_role("heading", name="Sign in to pdpanel")).to_be_visible()
        assert context.cookies() == []
        assert context.request.get(f"{base}/api/runs").status == 401
        assert complaints == []
        context.close()
