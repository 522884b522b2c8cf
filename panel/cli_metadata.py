"""What `pdpanel metadata` does and prints: the state of a metadata server, its segments, and what is wrong.

A thin shell around `panel.metadata`; `panel.cli` parses the arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from ..engine.errors import ConfigError
from ..nic_probe import Finding, Severity
from .doctor_text import count_of, finding_json, findings_text
from .metadata.address import Scheme, parse_metadata_server
from .metadata.builds import installed_build
from .metadata.findings import judge_build, judge_report
from .metadata.removal import chosen_entries, remove_entries
from .metadata.state import EndpointState, MetadataReport, Removal, SegmentState
from .metadata.survey import survey
from .probe_text import table
from .runner.journal import one_line
from .sizes import sized

__all__ = ["metadata"]

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)
_MOST_ROWS = 200
_MOST_CELL = 60


def metadata(
    url: str,
    *,
    as_json: bool,
    remove: Sequence[str],
    segments: Sequence[str] = (),
    dry_run: bool = False,
    force: bool = False,
) -> int:
    """Looks at the metadata server at `url`, prints what it found, and returns the exit status.

    Args:
        remove: segments to remove, by exact name.
        segments: segments to ask for, which a server that cannot list has to be told.
        dry_run: say what would be removed, and leave it there.
        force: remove also segments whose engine answers.

    Returns:
        1 when a finding is an error or something could not be removed, else 0.

    Raises:
        ConfigError: the address is none, or a segment cannot be removed.
    """
    server = parse_metadata_server(url, field="URL")
    if remove and server.scheme in {Scheme.P2P, Scheme.REDIS}:
        raise ConfigError("--remove", remove[0], "is on no server that could be asked", "name an etcd or HTTP server")
    wanted = (*segments, *remove)
    report = survey(server, wanted)
    removals: tuple[Removal, ...] = ()
    looked = report.answers and report.segments.known
    if remove and looked:
        entries = chosen_entries(report, remove, force=force)
        if dry_run:
            removals = tuple(Removal(entry.key, "a dry run") for entry in entries)
        else:
            removals = remove_entries(report, entries)
            gone = {removal.key for removal in removals if not removal.kept}
            report = survey(
                server, [name for name in wanted if name not in remove or not _all_gone(report, name, gone)]
            )
    findings = [*judge_build(server, installed_build()), *judge_report(report)]
    findings.sort(key=lambda finding: _ORDER.index(finding.severity))
    if as_json:
        typer.echo(json.dumps(_document(report, removals, findings), indent=2))
    else:
        typer.echo(
            "\n".join(_lines(report, removals, dry_run)) + "\n\n" + _printable(findings_text(findings)), nl=False
        )
    failed = bool(remove) and not (looked and (dry_run or not any(removal.kept for removal in removals)))
    return 1 if failed or count_of(findings, Severity.ERROR) else 0


def _all_gone(report: MetadataReport, name: str, gone: set[str]) -> bool:
    for state in report.segments.otherwise(()):
        if state.segment.label == name:
            return all(entry.key in gone for entry in state.segment.entries)
    return False


def _lines(report: MetadataReport, removals: Sequence[Removal], dry_run: bool) -> Iterator[str]:
    yield f"Metadata server {report.server.url}"
    if report.server.scheme is Scheme.P2P:
        yield "  none: the engines ask each other"
        return
    for endpoint in report.endpoints:
        version = f", version {endpoint.version}" if endpoint.version else ""
        told = f", tells clients {', '.join(endpoint.advertised)}" if endpoint.advertised else ""
        yield "  " + _printable(one_line(f"{endpoint.endpoint} {endpoint.detail}{version}{told}"))
    for removal in removals:
        done = f"would remove {removal.key}" if dry_run else f"removed {removal.key}"
        if removal.kept and not dry_run:
            done = f"kept {removal.key}: {removal.kept}"
        yield "  " + _printable(one_line(done))
    states = report.segments.otherwise(())
    if states:
        columns = ("segment", "protocol", "devices", "buffers", "memory", "engine", "state", "registered")
        yield from map(_printable, table(columns, [_row(state) for state in states[:_MOST_ROWS]]))
        if len(states) > _MOST_ROWS:
            yield f"  and {len(states) - _MOST_ROWS} more, which --json prints"
    elif report.answers and report.lists and report.segments.known:
        yield "  no segments"


def _row(state: SegmentState) -> tuple[str, ...]:
    segment = state.segment
    engine = f"{segment.host}:{segment.rpc_port}" if segment.rpc_port else "-"
    cells = (
        segment.label,
        segment.protocol or "-",
        ",".join(device.name for device in segment.devices) or "-",
        str(len(segment.buffers)),
        sized(segment.total_bytes),
        engine,
        str(state.liveness),
        segment.timestamp or "-",
    )
    # The name is what people copy; only what cannot be one is cut.
    return tuple(cell[: 8 * _MOST_CELL] if place == 0 else cell[:_MOST_CELL] for place, cell in enumerate(cells))


def _printable(text: str) -> str:
    """Returns text without the surrogates that stand for bytes of a name that is no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _document(report: MetadataReport, removals: Sequence[Removal], findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "server": report.server.url,
        "answers": report.answers,
        "endpoints": [_endpoint_json(endpoint) for endpoint in report.endpoints],
        "segments": [_segment_json(state) for state in report.segments.value]
        if report.segments.value is not None
        else None,
        "missing": list(report.missing),
        "removals": [{"key": removal.key, "kept": removal.kept} for removal in removals],
        "findings": [finding_json(finding) for finding in findings],
        "counts": {str(severity): count_of(findings, severity) for severity in _ORDER},
    }


def _endpoint_json(state: EndpointState) -> dict[str, Any]:
    return {
        "endpoint": str(state.endpoint),
        "state": str(state.reach),
        "detail": state.detail,
        "version": state.version,
        "healthy": state.healthy,
        "advertised": list(state.advertised),
    }


def _segment_json(state: SegmentState) -> dict[str, Any]:
    segment = state.segment
    return {
        "name": segment.label,
        "keys": [entry.key for entry in segment.entries],
        "protocol": segment.protocol,
        "devices": [{"name": one.name, "gid": one.gid, "lid": one.lid} for one in segment.devices],
        "buffers": [{"name": one.name, "address": one.address, "length": one.length} for one in segment.buffers],
        "bytes": segment.total_bytes,
        "host": segment.host,
        "rpc_port": segment.rpc_port,
        "registered": segment.timestamp,
        "state": str(state.liveness),
        "detail": state.detail,
        "problems": list(segment.problems),
    }
