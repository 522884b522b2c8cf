"""All checks of a host, and what they find together. Called by the doctor, the panel and the generated list of ids."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ..finding import Evidence, Finding, Severity
from ..host import Host
from ..topology.survey import Topology
from . import (
    container,
    gids,
    gpu_health,
    gpudirect,
    gpus,
    limits,
    links,
    machine,
    memory,
    network,
    pci,
    ports,
    rdma,
    software,
    source,
    topology,
    variables,
)
from .check import Check
from .view import HostView

__all__ = ["HOST_CHECKS", "Outcome", "check_host", "outcomes"]

HOST_CHECKS: tuple[Check[HostView], ...] = (
    *source.CHECKS,
    *rdma.CHECKS,
    *links.CHECKS,
    *gids.CHECKS,
    *gpudirect.CHECKS,
    *topology.CHECKS,
    *pci.CHECKS,
    *gpus.CHECKS,
    *gpu_health.CHECKS,
    *limits.CHECKS,
    *memory.CHECKS,
    *machine.CHECKS,
    *container.CHECKS,
    *network.CHECKS,
    *ports.CHECKS,
    *variables.CHECKS,
    *software.CHECKS,
)
"""Every check, in the order in which a list shows them: what KV travels by first."""

_GRAVEST_FIRST = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)


class Outcome(StrEnum):
    """How a check ended: the gravest of its findings, or `ok` without one."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"


def check_host(host: Host, topology: Topology) -> tuple[Finding, ...]:
    """Returns the findings of all checks, the gravest first, those of one severity in the order of the checks."""
    findings = [finding for found in _findings(host, topology).values() for finding in found]
    return tuple(sorted(findings, key=lambda finding: _GRAVEST_FIRST.index(finding.severity)))


def outcomes(host: Host, topology: Topology) -> Mapping[str, Outcome]:
    """Returns how each check ended, by the id of its rule, in the order of the checks."""
    ended: dict[str, Outcome] = {}
    for id_, found in _findings(host, topology).items():
        gravest = next(
            (severity for severity in _GRAVEST_FIRST if any(one.severity is severity for one in found)), None
        )
        ended[id_] = Outcome.OK if gravest is None else Outcome(gravest.value)
    return ended


def _findings(host: Host, topology: Topology) -> Mapping[str, list[Finding]]:
    view = HostView(host, topology)
    return {check.rule.id: _judged(check, view) for check in HOST_CHECKS}


def _judged(check: Check[HostView], view: HostView) -> list[Finding]:
    try:
        return check.judge(view)
    except Exception as error:  # The others still have something to say.
        return [
            check.rule.finding(
                Severity.UNKNOWN,
                f"the check {check.rule.id}",
                [Evidence(type(error).__name__, " ".join(str(error).split())[:200])],
                f"The check {check.rule.id} failed over this host, which is a fault of pdpanel.",
                "Report it with the dump of `pdpanel probe --dump node.tar.gz`.",
            )
        ]
