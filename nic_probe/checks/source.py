"""The check of the source itself: what it does not tell, so that other checks keep silent."""

from __future__ import annotations

from ..finding import Evidence, Finding, Severity
from .check import Check, Rule
from .evidence import listed
from .view import HostView

__all__ = ["CHECKS"]

_MISSING = Rule(
    "facts-missing",
    "What the source of the host's facts does not tell",
    "A tree of kernel files holds no limits of a shell, no rights on device nodes, no packages and no variables, and a "
    "topology file holds nothing but where devices sit. Checks that need them find nothing, which is no all-clear.",
    ("pdpanel: probe --dump, probe.pyz",),
)
_MEANING = {
    "addresses": "IP addresses",
    "clock": "whether the clock is kept in step",
    "devices": "rights on device nodes",
    "environ": "variables",
    "hostname_addresses": "what the host's name resolves to",
    "libraries": "shared libraries",
    "packages": "Python packages",
    "space": "room in /dev/shm and on disk",
}


def facts_missing(view: HostView) -> list[Finding]:
    """Says in one finding what is not known, and how to make a source that tells it."""
    missing = view.state.facts_missing
    if not missing:
        return []
    known = [_MEANING.get(name, name) for name in missing]
    return [
        _MISSING.finding(
            Severity.INFO if view.host.live else Severity.UNKNOWN,
            f"facts of this {view.host.source} source",
            [Evidence("facts", f"without {name} ({meaning})") for name, meaning in zip(missing, known, strict=True)],
            f"Not known, and not checked: {listed(known)}.",
            "On the host itself run `pdpanel probe --dump node.tar.gz`, or `ssh node python3 - < probe.pyz > "
            "node.tar.gz` where nothing is installed, and check that file.",
        )
    ]


CHECKS: tuple[Check[HostView], ...] = (Check(_MISSING, facts_missing),)
