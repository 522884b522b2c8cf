"""Who asks: the token's owner, or a user with a session cookie or a password.

Reads headers only; the guard asks it after Host and Origin are known to be right. Passwords are checked in few worker
threads, since each costs much memory, and wrong ones make their address and user wait. Times are monotonic.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..access.access import Access
from ..access.attempts import Attempts, address_key
from ..access.sessions import Sessions

__all__ = ["Identity", "Shut", "header_values", "same_secret"]

_HASHED_AT_ONCE = 2
# A script that sends its password each second is not hashed for each.
_PASSED_S = 300.0
_MOST_PASSED = 256

Headers = Iterable[tuple[bytes, bytes]]


def header_values(headers: Headers, name: bytes) -> list[str]:
    """Returns the values of a header, in their order."""
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def same_secret(given: str, secret: str) -> bool:
    """Returns True for the right secret, and takes as long for a wrong one; an empty secret has no right one."""
    return bool(secret) and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


@dataclass(frozen=True, slots=True)
class Shut:
    """Too many wrong passwords came from here, or for this user; `wait_s` seconds are left."""

    wait_s: float


class Identity:
    """Knows sessions and failed attempts of one panel."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.monotonic) -> None:
        self._access = access
        self._clock = clock
        self._sessions = Sessions()
        self._by_address = Attempts()
        # Shutting a user out is what an attacker may want, so it takes more, and is over sooner.
        self._by_user = Attempts(free=30, longest_wait_s=60.0)
        self._turn = asyncio.Semaphore(_HASHED_AT_ONCE)
        self._key = secrets.token_bytes(32)
        self._passed: dict[bytes, float] = {}

    def _cookies(self, headers: Headers) -> list[str]:
        pairs = [pair.strip().partition("=") for line in header_values(headers, b"cookie") for pair in line.split(";")]
        return [given for name, _, given in pairs if name == self._access.cookie_name]

    def at_once(self, headers: Headers) -> str | None:
        """Returns who asks by token or session: "token" or "user:NAME"; None for nobody."""
        headers = list(headers)
        for value in header_values(headers, b"authorization"):
            scheme, _, given = value.partition(" ")
            if scheme.lower() == "bearer" and same_secret(given.strip(), self._access.token):
                return "token"
        for given in self._cookies(headers):
            if not self._access.users:
                if same_secret(given, self._access.token):
                    return "token"
            elif (user := self._sessions.user_of(given, self._clock())) is not None:
                return f"user:{user}"
        return None

    def named(self, headers: Headers) -> str | None:
        """Returns the user that an Authorization header with a password names; None without one."""
        given = self._by_header(headers)
        return None if given is None else given[0]

    def _by_header(self, headers: Headers) -> tuple[str, str] | None:
        given = [value.partition(" ") for value in header_values(headers, b"authorization")]
        texts = [text for scheme, _, text in given if scheme.lower() == "basic"]
        if len(texts) != 1 or not self._access.users:
            return None
        try:
            user, colon, password = base64.b64decode(texts[0].strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (user, password) if colon else None

    async def by_password(self, headers: Headers, address: str) -> str | Shut | None:
        """Returns who asks by a password in the Authorization header."""
        given = self._by_header(headers)
        if given is None:
            return None
        user, password = given
        # What was right a moment ago is remembered under a key that lives in this process alone.
        mark = hmac.digest(self._key, f"{user}:{password}".encode(), "sha256")
        if self._passed.get(mark, 0.0) > self._clock():
            return f"user:{user}"
        checked = await self.check(user, password, address)
        if checked is True:
            while len(self._passed) >= _MOST_PASSED:
                del self._passed[next(iter(self._passed))]
            self._passed[mark] = self._clock() + _PASSED_S
            return f"user:{user}"
        return checked or None

    async def check(self, user: str, password: str, address: str) -> bool | Shut:
        """Returns True for the right password of a user."""
        place, person = address_key(address), user[:64]
        now = self._clock()
        wait = max(self._by_address.wait_s(place, now), self._by_user.wait_s(person, now))
        if wait > 0:
            return Shut(wait)
        # Counted before it is checked: many at once would all pass the look above.
        self._by_address.failed(place, now)
        self._by_user.failed(person, now)
        async with self._turn:
            right = await asyncio.to_thread(self._access.users.check, user, password)
        if right:
            self._by_address.succeeded(place)
            self._by_user.succeeded(person)
        return right

    def begin(self, user: str) -> str:
        """Returns the Set-Cookie header of a new session."""
        return self._access.set_cookie(self._sessions.begin(user, self._clock()))

    def end(self, headers: Headers) -> str:
        """Ends the session of these headers; returns the Set-Cookie header that takes the cookie away."""
        for given in self._cookies(headers):
            self._sessions.end(given)
        return self._access.set_cookie("", forget=True)
