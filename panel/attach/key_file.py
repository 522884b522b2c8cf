"""The API key of an attached run, and the hosts it was given for: a file for this user alone, in no plan or report.

A router may name workers anywhere; the key goes to the hosts that the person named and to no other. Called by whoever
asks an attached deployment something: the runner, Try it, the proof of transport and the load generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..rundir import RunDir
from .request import AttachRequest

__all__ = ["NO_KEY", "AttachKey", "HeadersOf", "encode_key", "key_file", "key_of", "read_key"]

HeadersOf = Callable[[str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class AttachKey:
    """A key for some hosts.

    Attributes:
        text: the key itself; empty for none.
        hosts: names or addresses as they stand in URLs, in small letters.
    """

    text: str = field(default="", repr=False)
    hosts: frozenset[str] = frozenset()

    def text_for(self, url: str) -> str:
        """Returns the key when `url` leads to one of its hosts, else nothing."""
        return self.text if (urlsplit(url).hostname or "") in self.hosts else ""

    def headers(self, url: str) -> Mapping[str, str]:
        """Returns what a request to `url` carries: the key as a bearer token, or nothing."""
        text = self.text_for(url)
        return {"Authorization": f"Bearer {text}"} if text else {}


NO_KEY = AttachKey()


def key_of(request: AttachRequest) -> AttachKey:
    """Returns the key of a request, for the hosts that the request itself names."""
    urls = [request.router, *(worker.url for worker in request.workers)]
    return AttachKey(request.api_key, frozenset(urlsplit(url).hostname or "" for url in urls if url))


def key_file(rundir: RunDir) -> Path:
    """Returns the file that holds the key."""
    return rundir.path / "api_key"


def encode_key(key: AttachKey) -> bytes:
    """Returns the file's content: the key, then a host a line."""
    return "\n".join((key.text, *sorted(key.hosts))).encode()


def read_key(rundir: RunDir) -> AttachKey:
    """Returns the key of a run, `NO_KEY` where it has none."""
    try:
        text, *hosts = key_file(rundir).read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeError):
        return NO_KEY
    return AttachKey(text, frozenset(hosts))
