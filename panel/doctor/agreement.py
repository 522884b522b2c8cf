"""Whether the processes of one deployment fit together: every rule on their resolved arguments, in one call.

Pure. Called with arguments from logs, from a plan, from pasted commands or from running workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...nic_probe.checks.check import Check
from ...nic_probe.finding import Finding, Severity
from ...nic_probe.host import Host
from ...nic_probe.topology.survey import Topology
from . import agreement_devices, agreement_flags, agreement_network, agreement_pair, agreement_ports, agreement_values
from .group import Group, make_group
from .worker import WorkerArguments

__all__ = ["AGREEMENT_CHECKS", "check_agreement", "sorted_findings"]

AGREEMENT_CHECKS: tuple[Check[Group], ...] = (
    *agreement_pair.CHECKS,
    *agreement_ports.CHECKS,
    *agreement_devices.CHECKS,
    *agreement_flags.CHECKS,
    *agreement_values.CHECKS,
    *agreement_network.CHECKS,
)
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)


def check_agreement(
    workers: Sequence[WorkerArguments],
    host: Host | None = None,
    topology: Topology | None = None,
    ephemeral: tuple[int, int] | None = None,
) -> tuple[Finding, ...]:
    """Returns what does not fit, the gravest first.

    Args:
        workers: every process of one deployment that is known, also routers.
        host: the host that those workers run on whose node is not another one; None looks at no host.
        topology: what follows from the host's devices.
        ephemeral: first and last port of outgoing connections; the host's, else Linux's default.
    """
    group = make_group(workers, host, topology, ephemeral)
    return sorted_findings(_merged(finding for check in AGREEMENT_CHECKS for finding in check.judge(group)))


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """Returns the findings with those that say the same of several processes as one: one cause, one finding."""
    merged: dict[tuple[str, Severity, str, str, str | None], Finding] = {}
    for finding in findings:
        key = (finding.id, finding.severity, finding.reason, finding.remedy, finding.corrected)
        known = merged.get(key)
        if known is not None:
            subjects = dict.fromkeys([*known.subject.split(", "), finding.subject])
            evidence = (*known.evidence, *(one for one in finding.evidence if one not in known.evidence))
            finding = replace(known, subject=", ".join(subjects), evidence=evidence)
        merged[key] = finding
    return list(merged.values())


def sorted_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns the findings, the gravest first, else in their order."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))
