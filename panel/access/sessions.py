"""Sessions of people who signed in: kept in the panel, so that a logout or a restart ends them.

Only digests of the ids are kept, in bounded memory. The caller says what time it is. Knows no cookie.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["Sessions"]


@dataclass(frozen=True, slots=True)
class _Session:
    user: str
    began: float
    seen: float


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "surrogateescape")).digest()


class Sessions:
    """Living sessions by id.

    Args:
        idle_s: a session ends so long after its last use.
        age_s: and so long after its begin.
        most: sessions at once; the longest unused goes first.
        most_of_user: of one user.
    """

    def __init__(
        self, idle_s: float = 12 * 3600.0, age_s: float = 7 * 86400.0, most: int = 1000, most_of_user: int = 50
    ) -> None:
        self._idle, self._age, self._most, self._of_user = idle_s, age_s, most, most_of_user
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, user: str, now: float) -> str:
        """Returns the id of a new session of `user`."""
        own = [key for key, session in self._sessions.items() if session.user == user]
        for key in own[: max(0, len(own) - self._of_user + 1)]:
            del self._sessions[key]
        while len(self._sessions) >= self._most:
            self._sessions.popitem(last=False)
        session_id = secrets.token_urlsafe(32)
        self._sessions[_digest(session_id)] = _Session(user, now, now)
        return session_id

    def user_of(self, session_id: str, now: float) -> str | None:
        """Returns whose living session this is, and marks it as used; None when it is none."""
        # Found by its digest: the time of a look-up says nothing about an id.
        key = _digest(session_id)
        session = self._sessions.get(key)
        if session is None:
            return None
        if now - session.seen > self._idle or now - session.began > self._age:
            del self._sessions[key]
            return None
        self._sessions[key] = _Session(session.user, session.began, now)
        self._sessions.move_to_end(key)
        return session.user

    def end(self, session_id: str) -> None:
        """Ends a session, if it lives."""
        self._sessions.pop(_digest(session_id), None)
