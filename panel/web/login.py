"""The login page, and what the guard answers to its form. No script, nothing from outside, no file beside it.

Called by the guard for /login and /logout after Host, Origin and Sec-Fetch-Site were checked; a form of another site
never gets here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qsl

from .identity import Identity, Shut

__all__ = ["LOGIN_HEADERS", "Answer", "log_in", "login_page"]

_MOST_FORM_BYTES = 8192
_FORM_TIMEOUT_S = 20.0

# With no-referrer, which the other pages have, a browser sends "Origin: null" with a form.
LOGIN_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"same-origin"),
)

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--quiet:#4a5565;--back:#f6f8fa;--card:#fff;--line:#7b8794;--go:#1d4ed8;
--bad:#b42318}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--quiet:#aab4c2;--back:#0f141b;--card:#19212b;--line:#77849a;
--go:#2f5fe0;--bad:#ff9a8f}}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
main{box-sizing:border-box;width:min(22rem,100vw - 2rem);padding:1.5rem;background:var(--card);
border:1px solid var(--line);border-radius:.5rem}
h1{margin:0 0 1rem;font-size:1.25rem}
label{display:block;margin:.75rem 0 .25rem;color:var(--quiet)}
input{box-sizing:border-box;width:100%;padding:.5rem;font:inherit;color:inherit;background:var(--back);
border:1px solid var(--line);border-radius:.25rem}
button{margin-top:1.25rem;width:100%;padding:.6rem;font:inherit;font-weight:700;color:#fff;background:var(--go);border:0;
border-radius:.25rem;cursor:pointer}
:focus-visible{outline:3px solid var(--go);outline-offset:2px}
[role=alert]{margin:0 0 .5rem;color:var(--bad)}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: a page, or with `cookie` a way into the panel; `user` is who tried."""

    status: int
    page: str = ""
    cookie: str = ""
    wait_s: float = 0.0
    user: str = ""


def login_page(action: str, problem: str = "", user: str = "") -> str:
    """Returns the page; `action` is the address of the form, `problem` a sentence."""
    alert = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in to pdpanel</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>Sign in to pdpanel</h1>{alert}"
        f'<form method="post" action="{escape(action)}">'
        f'<label for="user">User</label><input id="user" name="user" autocomplete="username" required '
        f'maxlength="64" autocapitalize="none" spellcheck="false" value="{escape(user)}">'
        '<label for="password">Password</label><input id="password" name="password" type="password" '
        'autocomplete="current-password" required maxlength="1024">'
        "<button>Sign in</button></form></main></body></html>"
    )


async def _form(receive: Callable[[], Awaitable[Any]]) -> dict[str, str] | None:
    body = b""
    async with asyncio.timeout(_FORM_TIMEOUT_S):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > _MOST_FORM_BYTES:
                return None
            if not message.get("more_body", False):
                break
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=8, errors="surrogateescape"))
    except (ValueError, UnicodeDecodeError):
        return None


async def log_in(identity: Identity, receive: Callable[[], Awaitable[Any]], address: str, action: str) -> Answer:
    """Checks what the login form sends.

    Args:
        identity: knows the users.
        receive: where the form is read from.
        address: who asks.
        action: the address of the form, for the page that is shown again.
    """
    try:
        form = await _form(receive)
    except TimeoutError:
        return Answer(408, login_page(action, "The form took too long to arrive."))
    if form is None:
        return Answer(400, login_page(action, "The form could not be read."))
    user, password = form.get("user", ""), form.get("password", "")
    checked = await identity.check(user, password, address)
    if isinstance(checked, Shut):
        problem = f"Too many wrong passwords. Try again in {max(1, round(checked.wait_s))} s."
        return Answer(429, login_page(action, problem, user), wait_s=checked.wait_s, user=user)
    if not checked:
        return Answer(401, login_page(action, "User or password is wrong.", user), user=user)
    return Answer(303, cookie=identity.begin(user), user=user)
