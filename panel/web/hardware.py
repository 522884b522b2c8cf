"""The Hardware tab's content: a probed host as picture, tables, details, findings and report, all plain JSON.

Shapes what nic_probe says and measures nothing itself. What a host lacks becomes an empty table with one
sentence, never an error; what could not be read shows its reason. Called by `source`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...nic_probe import (
    Evidence,
    Finding,
    Host,
    Severity,
    SourceError,
    check_host,
    host_of_topology,
    probe_document,
    probe_host,
    survey_topology,
    this_host_files,
)
from ...nic_probe.sources.capture import open_capture
from ...nic_probe.sources.files import HostFiles
from ...nic_probe.sources.topology_file import read_topology_file
from ..host_devices import gpu_order
from ..host_picture import Picture, picture_of
from ..host_shapes import SIGNS, State
from ..host_svg import to_svg
from ..sizes import sized
from .hardware_details import make_details
from .hardware_report import make_report
from .hardware_tables import make_tables
from .hardware_values import Cell, Entry, cell, inner, items

__all__ = ["describe", "describe_file", "describe_simulated", "describe_this_host"]

_REPLACED = "\N{REPLACEMENT CHARACTER}"


def describe(document: Entry, findings: Sequence[Finding], name: str = "") -> Mapping[str, Any]:
    """Returns what the tab shows.

    Args:
        document: the probe's answer, as `nic_probe.probe_document` writes it.
        findings: what the checks say of the host, the gravest first.
        name: the file that the host comes from; empty for this host.

    Returns:
        document; label (whose hardware this is) and live; picture and narrow (the same in one column) with
        their signs, as `host_shapes` has them; svg; summary of {label, value, sign}; findings; facts of {label,
        value}; tables of {title, columns, rows, empty, copies}; details of each device; report as Markdown. Cells
        are those of `hardware_values`. Only the document keeps control characters in its texts.
    """
    shown, title = _in_order(_with_texts(document, _printable)), _printable(name)
    told = [_finding_with_texts(finding, _printable) for finding in findings]
    picture = picture_of(shown, told, name=title)
    return {
        "document": document,
        "label": f"dump of {title}, not this host" if name else "this host",
        "live": inner(document, "host").get("live") is True,
        "picture": asdict(picture),
        "narrow": asdict(picture_of(shown, told, name=title, columns=1)),
        "svg": to_svg(picture),
        "signs": SIGNS,
        "summary": _summary(shown, told, picture),
        "findings": [asdict(finding) for finding in told],
        "facts": _facts(shown),
        "tables": make_tables(shown),
        "details": make_details(shown),
        "report": make_report(shown, told),
    }


def describe_this_host(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Probes this host and returns what `describe` makes of it; blocks while it reads.

    Args:
        environ: the variables that a worker started now would inherit.
    """
    return _describe_host(probe_host(this_host_files(environ), environ))


def describe_simulated(files: HostFiles, name: str) -> Mapping[str, Any]:
    """Returns the same for a simulated host, whose counters move as those of this host would.

    Args:
        files: the host's.
        name: what to call it.
    """
    host = probe_host(files, {})
    topology = survey_topology(host)
    document = probe_document(host, topology)
    # It is looked at as one would look at this host: only the mark tells them apart.
    moving = {**document, "host": {**inner(document, "host"), "live": True}}
    shown = describe(moving, check_host(host, topology))
    told = f"SIMULATED host {name}: nothing of this was measured."
    return {**shown, "label": f"SIMULATED host {name}", "report": f"> {told}\n\n{shown['report']}"}


def describe_file(path: Path, name: str) -> Mapping[str, Any]:
    """Returns the same for the host in a dump or topology file; blocks while it reads.

    Args:
        path: where the bytes are.
        name: what the person calls the file.

    Raises:
        SourceError: the file cannot be read as a host; it names the file as the person does.
    """
    try:
        host = _open(path)
    except SourceError as error:
        problem = error.problem.replace(str(path), name)
        raise SourceError("file", name, problem, error.remedy) from error
    return _describe_host(host, name, str(path))


def _open(path: Path) -> Host:
    """Opens a file by what it holds: XML is a topology, everything else an archive of kernel files."""
    with path.open("rb") as file:
        is_xml = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    return host_of_topology(read_topology_file(path)) if is_xml else probe_host(open_capture(path), {})


def _describe_host(host: Host, name: str = "", place: str = "") -> Mapping[str, Any]:
    """Returns what is shown of `host`; where its file is for the moment is told as the file's name."""
    topology = survey_topology(host)
    document, findings = probe_document(host, topology), check_host(host, topology)
    if place:

        def named(text: str) -> str:
            return text.replace(place, name)

        document = _with_texts(document, named)
        findings = [_finding_with_texts(finding, named) for finding in findings]
    return describe(document, findings, name)


def _in_order(document: Entry) -> Entry:
    """Returns the document with the GPUs in the order of their numbers, as the picture and people count them."""
    return {**document, "gpus": sorted(items(document, "gpus"), key=gpu_order)}


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Returns a JSON value with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_with_texts(key, change): _with_texts(each, change) for key, each in value.items()}
    return [_with_texts(each, change) for each in value] if isinstance(value, list | tuple) else value


def _finding_with_texts(finding: Finding, change: Callable[[str], str]) -> Finding:
    return Finding(
        id=finding.id,
        severity=finding.severity,
        subject=change(finding.subject),
        evidence=tuple(Evidence(change(one.source), change(one.value)) for one in finding.evidence),
        reason=change(finding.reason),
        remedy=change(finding.remedy),
        corrected=None if finding.corrected is None else change(finding.corrected),
    )


def _printable(text: str) -> str:
    """Returns a text without control characters, and without those that turn the direction of writing."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _REPLACED for char in text)


def _summary(document: Entry, findings: Sequence[Finding], picture: Picture) -> list[dict[str, Any]]:
    gpus, nics = items(document, "gpus"), items(document, "nics")
    names = Counter(str(gpu.get("name") or gpu.get("vendor") or "unknown") for gpu in gpus)
    shown = ", ".join(f"{count} \N{MULTIPLICATION SIGN} {name}" for name, count in names.most_common())
    states = Counter(box.state for box in picture.boxes if box.kind == "nic")
    usable = states[State.GOOD] + states[State.WARN]
    unknown = f", {states[State.UNKNOWN]} not known" if states[State.UNKNOWN] else ""
    nic_sign = State.BAD if states[State.BAD] else State.UNKNOWN if states[State.UNKNOWN] else State.GOOD
    chosen = inner(document, "ib_devices")
    served = sum(bool(chosen.get(gpu.get("id"))) for gpu in gpus)
    grave = Counter(finding.severity for finding in findings)
    errors, warnings, not_known = grave[Severity.ERROR], grave[Severity.WARNING], grave[Severity.UNKNOWN]
    sign = State.BAD if errors else State.WARN if warnings else State.UNKNOWN if not_known else State.GOOD
    told = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    told += ", as far as is known" if sign is State.UNKNOWN else ""
    return [
        {"label": "GPUs", "value": shown or "none", "sign": ""},
        {
            "label": "RDMA NICs",
            "value": f"{usable} of {len(nics)} usable{unknown}" if nics else "none: KV travels over TCP",
            "sign": nic_sign if nics else "",
        },
        {
            "label": "GPUs with a NIC to use",
            "value": f"{served} of {len(gpus)}" if gpus else "no GPU",
            "sign": "" if not (gpus and nics) else State.GOOD if served == len(gpus) else State.WARN,
        },
        {"label": "Findings", "value": told, "sign": sign},
    ]


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _facts(document: Entry) -> list[dict[str, Cell]]:
    host = inner(document, "host")
    cpu, memory = inner(host, "cpu"), inner(host, "memory")
    facts = {
        "Host": cell(host, "name"),
        "System": _joined(host, "os", "kernel"),
        "Processor": cell(cpu, "model"),
        "Sockets / cores / threads": _several(cpu, "sockets", "cores", "threads"),
        "Instruction sets": ", ".join(items(cpu, "instruction_sets"))
        or (cell(cpu, "model") if cpu.get("model") is None else "none of note"),
        "Memory": _memory(memory),
    }
    if memory.get("huge_pages_total"):
        each = memory.get("huge_page_bytes")
        pages = f"{_short(memory, 'huge_pages_free')} of {memory['huge_pages_total']} free"
        facts["Huge pages"] = f"{pages}, {sized(each)} each" if each else pages
    if items(document, "gpus"):
        facts["GPU driver / runtime"] = _several(host, "driver_version", "runtime_version")
    return [{"label": label, "value": value} for label, value in facts.items()]


def _joined(entry: Entry, first: str, second: str) -> Cell:
    known = [str(entry[key]) for key in (first, second) if entry.get(key) is not None]
    return ", Linux ".join(known) if known else cell(entry, first)


def _memory(memory: Entry) -> Cell:
    total = cell(memory, "total_bytes")
    free = memory.get("available_bytes")
    return f"{total}, {sized(free)} available" if isinstance(total, str) and free is not None else total


def _several(entry: Entry, *keys: str) -> Cell:
    """Returns values beside each other, or the reason of the first when none is known."""
    known = any(entry.get(key) is not None for key in keys)
    return " / ".join(_short(entry, key) for key in keys) if known else cell(entry, keys[0])


def _short(entry: Entry, key: str) -> str:
    value = cell(entry, key)
    return value if isinstance(value, str) else str(value["text"])
