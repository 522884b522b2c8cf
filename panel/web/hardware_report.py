"""A host and its findings as Markdown, to be pasted into a bug report.

Pure; called by `hardware`. Text from outside cannot break out of its line or its code span.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...nic_probe.finding import Finding
from .hardware_tables import best_gid, gpu_name
from .hardware_values import NOTHING, Entry, inner, items, words

__all__ = ["make_report"]


def make_report(document: Entry, findings: Sequence[Finding]) -> str:
    """Returns the report; it names devices and addresses of the host, and no secret."""
    host = inner(document, "host")
    gpus, nics = items(document, "gpus"), items(document, "nics")
    chosen = inner(document, "ib_devices")
    system = ", ".join(str(host[key]) for key in ("os", "kernel") if host.get(key))
    driver = ", ".join(str(host[key]) for key in ("driver_version", "runtime_version") if host.get(key))
    cpu = inner(host, "cpu")
    lines = [
        f"### pdpanel: {_code(host.get('name') or 'unnamed host')}",
        "",
        f"- read from: {'the live host' if host.get('live') else 'a file'} ({_flat(host.get('source') or 'unknown')})",
        f"- system: {_flat(system) or 'unknown'}",
        f"- processor: {_flat(cpu.get('model') or 'unknown')}, {_flat(cpu.get('threads') or '?')} threads",
        f"- GPU driver and runtime: {_flat(driver) or 'unknown'}",
    ]
    if gpus:
        lines += ["", "| GPU | name | PCI | NUMA | NICs |", "| --- | --- | --- | --- | --- |"]
        lines += [
            _line(
                gpu_name(gpu),
                gpu.get("name"),
                gpu.get("pci"),
                gpu.get("numa_node"),
                ", ".join(map(str, chosen.get(gpu.get("id")) or ())),
            )
            for gpu in gpus
        ]
    if nics:
        lines += ["", "| port | state | rate | link layer | GID | driver, firmware | PCI | NUMA | usable |"]
        lines += ["| --- " * 9 + "|"]
        lines += [_port(nic, port) for nic in nics for port in items(nic, "ports") or ({},)]
    lines += ["", "#### Findings", ""]
    lines += [line for finding in findings for line in _finding(finding)] or ["None."]
    notes = items(document, "notes")
    if notes:
        lines += ["", "#### Notes", "", *(f"- {_flat(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def _port(nic: Entry, port: Entry) -> str:
    gid = best_gid(port)
    usable = nic.get("usable")
    answer = "unknown" if usable is None else words(usable)
    reason = nic.get("why_not") or "; ".join(map(str, items(nic, "signs")))
    return _line(
        f"{nic.get('name')}:{port.get('port', '?')}",
        port.get("state"),
        port.get("rate"),
        port.get("link_layer"),
        f"{gid.get('index')}: {gid.get('address')}" if gid else None,
        ", ".join(str(nic[key]) for key in ("driver", "firmware") if nic.get(key)),
        nic.get("pci"),
        nic.get("numa_node"),
        f"{answer}: {reason}" if reason else answer,
    )


def _finding(finding: Finding) -> list[str]:
    lines = [f"- **{finding.severity}** {_code(finding.id)} {_code(finding.subject)}: {_flat(finding.reason)}"]
    lines += [f"  - {_code(evidence.source)}: {_code(evidence.value)}" for evidence in finding.evidence]
    if finding.remedy:
        lines.append(f"  - remedy: {' '.join(finding.remedy.split())}")
    return lines


def _line(*cells: object) -> str:
    shown = (NOTHING if value in (None, "") else _flat(value).replace("|", "\\|") for value in cells)
    return f"| {' | '.join(shown)} |"


def _flat(value: object) -> str:
    """Returns a value as plain text in one line: no HTML, no Markdown that begins something."""
    text = " ".join(str(value).split())
    for char in "\\`*_<>[]":
        text = text.replace(char, f"\\{char}")
    return text


def _code(value: object) -> str:
    text = " ".join(str(value).split()).replace("`", "'")
    return f"`{text}`" if text else "``"
