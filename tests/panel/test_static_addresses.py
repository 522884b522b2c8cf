"""No script of the page writes an address that would leave a proxy's prefix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "panel" / "web" / "static"
SCRIPTS = sorted(path.name for path in STATIC.glob("*.js") if not path.name.startswith("uPlot"))
# base.js makes every address; a Channel takes a path of ours and asks it.
_ABSOLUTE = re.compile(r"""(?:fetch|new WebSocket|new EventSource|import)\(\s*["'`]/|(?:href|src|action):\s*["'`]/\w""")
_OWN_HOST = re.compile(r"location\.(?:host|origin|protocol)\b")


@pytest.mark.parametrize("name", SCRIPTS)
def test_addresses_are_made_by_base(name: str) -> None:
    text = (STATIC / name).read_text()
    assert _ABSOLUTE.findall(text) == []
    assert name == "base.js" or _OWN_HOST.findall(text) == []


def test_rule_finds_what_it_looks_for() -> None:
    assert _ABSOLUTE.search('await fetch("/api/runs")')
    assert _ABSOLUTE.search("fetch(`/api/x/${y}`)")
    assert _ABSOLUTE.search('el("a", { href: "/api/docs" })')
    assert not _ABSOLUTE.search('fetch(url("/api/runs"))')


def test_files_of_the_page_are_relative() -> None:
    text = (STATIC.parent / "layout.py").read_text()
    assert '_STATIC = "./static-pdpanel"' in text
    assert not re.search(r"""(?:href|src)=\\?["']/""", text)
