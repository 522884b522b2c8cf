"""Whether a deployment would start on this host and run well, before anybody presses the button, and what would help.

Pure but for two questions that the caller answers: what a start would refuse now, and which packages are installed.
Joins the doctor's findings with them, and names the changes that are safe to make without asking further: another
port, another transport, fewer workers. Called by `panel.web.start_checks`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...engine.errors import ConfigError, PdpanelError
from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from ..deployment import Deployment
from ..dialects.registry import dialect_of
from ..sizes import sized

__all__ = ["RULES", "Fix", "StartReport", "Surroundings", "check_start"]

_REFUSED = Rule(
    "start-refused",
    "A deployment that this host cannot start now",
    "A start is refused when a port is taken, a program or package is missing, or a host is another one.",
    ("docs/architecture.md",),
)
_PACKAGE = Rule(
    "start-transport-missing",
    "A transport whose package is not installed",
    "The bundled engine loads Mooncake and NIXL from packages of their own. Without them its workers end at once.",
    ("docs/install.md",),
)
_CORES = Rule(
    "start-many-workers",
    "More workers than the host has CPU cores",
    "A worker of the bundled engine computes on the CPU. Workers that share a core slow each other down, and every "
    "number that is measured then tells of the sharing.",
    ("docs/architecture.md",),
)
_MODEL = Rule(
    "start-model-missing",
    "A model that is named by a path which does not exist",
    "A folder or file is read as it is named; only other names are looked up in the catalogue or on a hub.",
    ("docs/architecture.md",),
)
_WEIGHTS = Rule(
    "start-memory",
    "Weights that take more memory than is free",
    "Workers of one host share the pages of a file of weights, so the file counts once; KV and buffers come on top.",
    ("proc(5): /proc/meminfo",),
)
RULES = (_REFUSED, _PACKAGE, _CORES, _MODEL, _WEIGHTS)

_FREE_PORT = re.compile(r"\bwrite (\d+), which is free")
_PACKAGES = {"mooncake": "mooncake", "mooncake_tcp": "mooncake", "nixl": "nixl"}
_BUNDLED = "bundled"


@dataclass(frozen=True, slots=True)
class Fix:
    """One change of the deployment that is safe to make.

    Attributes:
        finding: the id of what it mends.
        label: what the button says.
        path: the field, such as `router.port`.
        value: what it becomes.
    """

    finding: str
    label: str
    path: str
    value: str | int


@dataclass(frozen=True, slots=True)
class StartReport:
    """What was found.

    Attributes:
        findings: the gravest first.
        fixes: changes that would mend some of them.
        blocked: a start would surely fail.
    """

    findings: tuple[Finding, ...]
    fixes: tuple[Fix, ...]
    blocked: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of this host beside the doctor's own look.

    Attributes:
        cores: CPU cores that processes may use.
        available_bytes: memory that is free; None when not known.
        installed: tells whether this interpreter has a package.
        size_of: bytes of a path, None when nothing is there.
    """

    cores: int
    available_bytes: int | None
    installed: Callable[[str], bool]
    size_of: Callable[[str], int | None]


def check_start(
    deployment: Deployment, told: Sequence[Finding], refused: PdpanelError | None, here: Surroundings
) -> StartReport:
    """Returns what stands in the way of a start.

    Args:
        deployment: what would be started.
        told: what the doctor says of it.
        refused: what a start would raise now; None when it would not.
        here: this host.
    """
    findings = list(told)
    if refused is not None:
        # The doctor plans, too, and says the same in its own words.
        findings = [finding for finding in findings if finding.id != "deployment-plan"]
        findings.insert(0, _refusal(refused))
    if dialect_of(deployment).name == _BUNDLED:
        findings += [*_package(deployment, here), *_cores(deployment, here), *_weights(deployment, here)]
    findings += _model(deployment, here)
    order = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)
    findings.sort(key=lambda finding: order.index(finding.severity))
    fatal = {_REFUSED.id, _PACKAGE.id, _MODEL.id}
    blocked = any(finding.id in fatal and finding.severity is Severity.ERROR for finding in findings)
    return StartReport(tuple(findings), tuple(_fixes(deployment, findings, refused, here)), blocked)


def _refusal(error: PdpanelError) -> Finding:
    if not isinstance(error, ConfigError):
        return _REFUSED.finding(Severity.ERROR, "start", (), str(error), "Stop another run, or try again.")
    evidence = (Evidence(error.field, str(error.value)),)
    reason = f"{error.field} = {error.value} {error.problem}."
    return _REFUSED.finding(Severity.ERROR, error.field, evidence, reason, _sentence(error.remedy))


def _package(deployment: Deployment, here: Surroundings) -> list[Finding]:
    package = _PACKAGES.get(deployment.transport, "")
    if deployment.unified.count or not package or here.installed(package):
        return []
    reason = f"Transport {deployment.transport} needs the package {package}, which this Python does not have."
    remedy = f"Install it: pip install 'pdpanel[{'nixl' if package == 'nixl' else 'mooncake-cpu'}]'; or take tcp."
    evidence = (Evidence("transport", deployment.transport), Evidence("packages", f"no {package}"))
    return [_PACKAGE.finding(Severity.ERROR, "transport", evidence, reason, remedy, "tcp")]


def _workers(deployment: Deployment) -> dict[str, int]:
    roles = {"prefill": deployment.prefill, "decode": deployment.decode, "unified": deployment.unified}
    return {name: role.count for name, role in roles.items() if role.count}


def _cores(deployment: Deployment, here: Surroundings) -> list[Finding]:
    counts = _workers(deployment)
    total = sum(counts.values())
    if total <= max(here.cores, len(counts)):
        return []
    evidence = (Evidence("workers", str(total)), Evidence("CPU cores", str(here.cores)))
    reason = f"{total} workers share {here.cores} CPU cores, so each runs slower than it could."
    remedy = "Use fewer workers, unless the sharing itself is what you want to see."
    return [_CORES.finding(Severity.WARNING, "workers", evidence, reason, remedy)]


def _model(deployment: Deployment, here: Surroundings) -> list[Finding]:
    name = os.path.expanduser(deployment.model)
    looks_local = name.startswith(("/", "./", "../")) or name.endswith((".gguf", ".safetensors"))
    if not looks_local or here.size_of(name) is not None:
        return []
    evidence = (Evidence("model", deployment.model),)
    reason = "There is no such file or folder on this host."
    return [_MODEL.finding(Severity.ERROR, "model", evidence, reason, "Name one that exists, or a Hub id.")]


def _weights(deployment: Deployment, here: Surroundings) -> list[Finding]:
    size = here.size_of(os.path.expanduser(deployment.model))
    if size is None or here.available_bytes is None or size <= here.available_bytes:
        return []
    evidence = (
        Evidence(deployment.model, sized(size)),
        Evidence("/proc/meminfo", f"{sized(here.available_bytes)} available"),
    )
    reason = f"The weights take {sized(size)} and {sized(here.available_bytes)} of memory are free."
    return [
        _WEIGHTS.finding(
            Severity.ERROR, "memory", evidence, reason, "Choose a smaller model, or end what holds memory."
        )
    ]


def _fixes(
    deployment: Deployment, findings: Sequence[Finding], refused: PdpanelError | None, here: Surroundings
) -> list[Fix]:
    fixes: list[Fix] = []
    if isinstance(refused, ConfigError) and (near := _FREE_PORT.search(refused.remedy)):
        port = int(near[1])
        fixes.append(Fix(_REFUSED.id, f"Use port {port} instead", refused.field, port))
    for finding in findings:
        if finding.id in {"deployment-transport", _PACKAGE.id} and finding.corrected:
            right = finding.corrected
            fixes.append(Fix(finding.id, f"Use {right} instead of {deployment.transport}", "transport", right))
        if finding.id in {_CORES.id, "deployment-memory"}:
            fixes += _fewer(deployment, finding.id, here.cores)
    return fixes


def _fewer(deployment: Deployment, finding: str, cores: int) -> list[Fix]:
    counts = _workers(deployment)
    before = dict(counts)
    # The largest role gives first; each keeps one.
    while sum(counts.values()) > max(cores, len(counts)) or (finding == "deployment-memory" and counts == before):
        largest = max(counts, key=lambda name: counts[name])
        if counts[largest] == 1:
            break
        counts[largest] -= 1
    return [
        Fix(finding, f"Use {count} {role} worker{'s'[count == 1 :]} instead of {before[role]}", f"{role}.count", count)
        for role, count in counts.items()
        if count != before[role]
    ]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
