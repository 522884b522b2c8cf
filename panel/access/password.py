"""Passwords as scrypt hashes: made by `pdpanel hash-password`, checked at a login.

A hash says its own cost, `scrypt.N.R.P.SALT.KEY` in unpadded base64url, and holds no character that a shell reads.
Knows no user and no file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from ...engine.errors import ConfigError

__all__ = ["PasswordHash", "hash_password", "parse_hash"]

# 32 MiB and some 100 ms of one core: OWASP's Password Storage Cheat Sheet names N=2^15, r=8, p=3 among its equals.
_N, _R, _P = 1 << 15, 8, 3
_SALT_BYTES, _KEY_BYTES = 16, 32
_MOST_MEMORY = 64 << 20
_LONGEST_PASSWORD = 1024
_SHAPE = re.compile(r"scrypt\.([0-9]{1,8})\.([0-9]{1,3})\.([0-9]{1,2})\.([A-Za-z0-9_-]{16,128})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A password's scrypt hash.

    Attributes:
        n: scrypt's cost, a power of two.
        r: its block size.
        p: its parallelism.
    """

    n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    def matches(self, password: str) -> bool:
        """Returns True for the right password; takes as long for a wrong one."""
        return hmac.compare_digest(_derive(password, self.salt, self.n, self.r, self.p), self.key)

    def text(self) -> str:
        """Returns the hash as one word."""
        return f"scrypt.{self.n}.{self.r}.{self.p}.{_encode(self.salt)}.{_encode(self.key)}"


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # A longer one is cut: nobody types it, and it must not cost more.
    given = password.encode("utf-8", "surrogateescape")[:_LONGEST_PASSWORD]
    return hashlib.scrypt(given, salt=salt, n=n, r=r, p=p, maxmem=_MOST_MEMORY, dklen=_KEY_BYTES)


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def hash_password(password: str, *, n: int = _N) -> PasswordHash:
    """Returns a fresh hash of `password`; `n` is scrypt's cost, smaller only in tests.

    Raises:
        ConfigError: the password is too short or too long to be one.
    """
    if len(password) < 8:
        raise ConfigError("password", "***", "has fewer than 8 characters", "choose a longer one")
    if len(password.encode("utf-8", "surrogateescape")) > _LONGEST_PASSWORD:
        raise ConfigError("password", "***", f"has more than {_LONGEST_PASSWORD} bytes", "choose a shorter one")
    salt = secrets.token_bytes(_SALT_BYTES)
    return PasswordHash(n, _R, _P, salt, _derive(password, salt, n, _R, _P))


def parse_hash(user: str, text: str) -> PasswordHash:
    """Returns the hash that `text` writes; `user` is for the sentence alone, which never repeats the text.

    Raises:
        ConfigError: it is no such hash: perhaps a plain password.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        remedy = "make one with `pdpanel hash-password`, which asks for the password"
        raise ConfigError("--auth", f"{user}:***", "holds no password hash after the colon", remedy)
    n, r, p = (int(part) for part in found.groups()[:3])
    if n < 2 or n & (n - 1) or not r or not p or 128 * n * r + 128 * r * p > _MOST_MEMORY - (1 << 16) or p > 16:
        remedy = "make it anew with `pdpanel hash-password`"
        raise ConfigError("--auth", f"{user}:***", "holds a password hash of a cost that is not usable", remedy)
    try:
        return PasswordHash(n, r, p, _decode(found.group(4)), _decode(found.group(5)))
    except binascii.Error:
        remedy = "make it anew with `pdpanel hash-password`"
        raise ConfigError("--auth", f"{user}:***", "holds a password hash that is cut off", remedy) from None
