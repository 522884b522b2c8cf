"""Sign-ins, sign-outs and wrong passwords are in the audit log, and a flood of wrong ones fills it no faster."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from asgi_client import Inner, ask
from pdpanel.panel.access.access import Access
from pdpanel.panel.access.password import hash_password
from pdpanel.panel.access.users import Users
from pdpanel.panel.audit import Audit
from pdpanel.panel.web.guard import Guard
from pdpanel.panel.web.sign_in_trail import SignInTrail

HOST = "panel.example:7860"
FORM = {"host": HOST, "origin": f"https://{HOST}", "content-type": "application/x-www-form-urlencoded"}
USERS = Users(MappingProxyType({"ann": hash_password("correct horse", n=2)}))
ACCESS = replace(Access.for_port(7860, "", ["panel.example"], secure=True), users=USERS)


def noted(audit: Audit) -> list[tuple[str, str, str]]:
    return [(entry.who, entry.action, entry.outcome) for entry in audit.entries()]


def test_who_came_who_went_and_who_did_not_get_in(tmp_path: Path) -> None:
    audit, inner = Audit(tmp_path), Inner()
    guard = Guard(inner, ACCESS, trail=SignInTrail(audit, USERS.hashes))

    def asked(path: str, headers: Any = None, **options: Any) -> Any:
        return asyncio.run(ask(guard, inner, path, {"host": HOST, **(headers or {})}, **options))

    def sign_in(body: bytes) -> Any:
        return asked("/login", FORM, method="POST", body=body)

    (cookie,) = sign_in(b"user=ann&password=correct+horse").header("set-cookie")
    asked("/logout", {**FORM, "cookie": cookie.partition(";")[0]}, method="POST")
    sign_in(b"user=ann&password=secret-1")
    sign_in(b"user=secret-2&password=x")
    basic = base64.b64encode(b"ann:secret-3").decode()
    asked("/api/runs", {"authorization": f"Basic {basic}"})
    asked("/api/runs")
    assert noted(audit) == [
        ("user:ann", "sign-in", "done"),
        ("user:ann", "sign-out", "done"),
        ("user:ann", "sign-in", "refused: wrong password"),
        ("an unknown user", "sign-in", "refused: wrong password"),
        ("user:ann", "sign-in", "refused: wrong password"),
    ]
    # Neither passwords nor what was typed for a name that does not exist.
    assert "secret" not in audit.path.read_text()


def test_the_token_is_a_way_in_too(tmp_path: Path) -> None:
    audit, inner = Audit(tmp_path), Inner()
    guard = Guard(inner, Access.for_port(7860, "right-token"), trail=SignInTrail(audit))
    for token in ("wrong-token", "right-token"):
        asyncio.run(ask(guard, inner, "/", {"host": "127.0.0.1:7860"}, query=f"token={token}"))
    assert noted(audit) == [("an unknown user", "sign-in", "refused: wrong token"), ("token", "sign-in", "done")]
    assert "-token" not in audit.path.read_text()


def test_a_flood_is_counted_and_not_written(tmp_path: Path) -> None:
    now = [0.0]
    audit = Audit(tmp_path)
    trail = SignInTrail(audit, most=3, clock=lambda: now[0])

    async def guess(times: int) -> None:
        for _ in range(times):
            await trail.failed("eve", "10.0.0.9", "wrong password")

    asyncio.run(guess(500))
    assert len(noted(audit)) == 3
    now[0] = 61.0
    asyncio.run(guess(1))
    assert noted(audit)[3][2] == "refused: wrong password; 497 more like it were not written"
