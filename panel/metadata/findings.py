"""Judges a metadata server: its address, the build that is to use it, and what was found there.

Pure: values in, findings out. Called by the command line, by lint and by the doctor.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from ...nic_probe.finding import Evidence, Finding, Severity
from . import rules
from .address import AddressError, Endpoint, MetadataServer, Scheme, parse_metadata_server
from .builds import MooncakeBuild, speaks
from .segment import Segment
from .state import EndpointState, Liveness, MetadataReport, Reach, SegmentState

__all__ = ["judge_address", "judge_build", "judge_hosts", "judge_report", "segment_name"]

_REDIS = (
    "No published wheel is built with USE_REDIS (Mooncake: release workflows): it aborts the process, with SIGABRT and "
    "no exception, at a redis:// address"
)


def judge_address(text: str, source: str = "metadata_server", *, backend: Scheme = Scheme.ETCD) -> list[Finding]:
    """Returns a finding when `text` is no address that Mooncake understands as it was meant.

    Args:
        source: where the text stands.
        backend: as of `parse_metadata_server`.
    """
    try:
        parse_metadata_server(text, field=source, backend=backend)
    except AddressError as error:
        rule = rules.UNKNOWN_SCHEME if error.unknown_scheme else rules.ADDRESS
        evidence = Evidence(source, str(error.value))
        reason = _sentence(error.problem)
        return [rule.finding(Severity.ERROR, source, [evidence], reason, _sentence(error.remedy), error.corrected)]
    return []


def judge_build(server: MetadataServer, build: MooncakeBuild | None) -> list[Finding]:
    """Returns a finding when the build (None: not known) cannot use a server of this kind."""
    if build is None:
        if server.scheme is not Scheme.REDIS:
            return []
        severity, evidence, reason = Severity.WARNING, Evidence("Mooncake", "not installed here"), f"{_REDIS}."
    elif speaks(build, server.scheme):
        return []
    else:
        severity, evidence = Severity.ERROR, Evidence("installed package", str(build))
        reason = f"This Mooncake was built without {server.scheme}, and aborts its process at such an address."
        if server.scheme is Scheme.REDIS:
            reason = f"{_REDIS}."
    remedy = (
        f"Use {Scheme.P2P}, or a metadata server over HTTP; or build Mooncake with -DUSE_{server.scheme.upper()}=ON."
    )
    return [rules.UNSUPPORTED.finding(severity, server.url, [evidence], reason, remedy)]


def judge_hosts(server: MetadataServer, worker_hosts: Sequence[str]) -> list[Finding]:
    """Returns a finding when workers are on several hosts and the address means each one's own.

    Args:
        worker_hosts: the hosts as the deployment names them, one per worker or one per host.
    """
    hosts = sorted(set(worker_hosts))
    if not server.loopback or all(Endpoint(host, 1).loopback for host in hosts) or len(hosts) < 2:
        return []
    return [
        rules.LOOPBACK.finding(
            Severity.ERROR,
            server.url,
            [Evidence("hosts of the workers", ", ".join(hosts))],
            "The address means each worker's own host, so the workers do not find each other.",
            "Name the server's host by an address that all of them reach, and let the server listen there.",
        )
    ]


def judge_report(report: MetadataReport) -> list[Finding]:
    """Returns what is wrong with a server that was looked at; nothing when all is well."""
    found = [finding for state in report.endpoints for finding in _endpoint(report, state)]
    if report.server.scheme in {Scheme.P2P, Scheme.REDIS} or not report.answers:
        return found
    segments = report.segments.otherwise(())
    return [
        *found,
        *_listing(report),
        *_missing(report),
        *(finding for state in segments for finding in _unreadable(state.segment)),
        *_stale(report, segments),
        *_loopback_segments(report, segments),
    ]


def segment_name(label: str) -> str:
    """Returns a label as one argument for a shell; empty when it cannot be written as one on a terminal."""
    return shlex.quote(label) if label.isprintable() else ""


def _endpoint(report: MetadataReport, state: EndpointState) -> Iterator[Finding]:
    subject = f"{report.server.scheme}://{state.endpoint}{report.server.path}"
    evidence = [Evidence(str(state.endpoint), state.detail)]
    if state.on_loopback:
        local = Evidence(f"127.0.0.1:{state.endpoint.port}", "answers")
        yield rules.LOOPBACK.finding(
            Severity.ERROR,
            subject,
            [*evidence, local],
            "The server listens on 127.0.0.1 of this host alone, so that nobody reaches it by this address.",
            _listen_everywhere(report.server.scheme, state.endpoint),
        )
    elif state.reach is Reach.UNREACHABLE:
        # Mooncake's etcd client goes on to the next endpoint.
        severity = Severity.WARNING if report.answers else Severity.ERROR
        reason = f"The metadata server {state.detail}."
        remedy = "Start it, or name the host and port that it listens on; a firewall may stand between."
        yield rules.UNREACHABLE.finding(severity, subject, evidence, reason, remedy)
    elif state.reach is Reach.FOREIGN:
        reason = "What answers there is no metadata server of this kind."
        remedy = "Name the port and, over HTTP, the path of the metadata server."
        yield rules.FOREIGN.finding(Severity.ERROR, subject, evidence, reason, remedy)
    elif state.healthy is False:
        reason = f"The metadata server {state.detail}."
        remedy = "Run `etcdctl endpoint status --cluster` and `etcdctl alarm list`."
        if report.server.scheme is Scheme.REDIS:
            remedy = "Set MC_REDIS_PASSWORD where redis wants a password."
        yield rules.UNHEALTHY.finding(Severity.ERROR, subject, evidence, reason, remedy)


def _listen_everywhere(scheme: Scheme, endpoint: Endpoint) -> str:
    if scheme is Scheme.ETCD:
        return f"etcd --listen-client-urls http://0.0.0.0:{endpoint.port} --advertise-client-urls http://{endpoint}"
    if scheme is Scheme.REDIS:
        return "Let redis bind the address that is named here."
    return f"python3 -m mooncake.http_metadata_server --host 0.0.0.0 --port {endpoint.port}"


def _listing(report: MetadataReport) -> Iterator[Finding]:
    reading = report.segments
    if reading.reason:
        evidence = [Evidence(reading.source, reading.reason)]
        reason = (
            "What is registered could be read in part alone." if reading.known else "What is registered is unknown."
        )
        remedy = "Ask the server itself, such as with `etcdctl get --prefix --keys-only mooncake/`."
        yield rules.NOT_LISTED.finding(Severity.UNKNOWN, report.server.url, evidence, reason, remedy)
    elif not report.lists and not reading.otherwise(()) and not report.missing:
        evidence = [Evidence(report.server.url, "GET, PUT and DELETE of ?key=... are all that it knows")]
        reason = "Mooncake's HTTP metadata server cannot list what is registered."
        remedy = "Name the segments to look for with --segment: they are the local_hostname of each engine."
        yield rules.NOT_LISTED.finding(Severity.INFO, report.server.url, evidence, reason, remedy)


def _missing(report: MetadataReport) -> Iterator[Finding]:
    for label in report.missing:
        yield rules.MISSING.finding(
            Severity.WARNING,
            label,
            [Evidence(report.server.url, "has no entry of this name")],
            "No engine is registered under this name, so peers that look for it fail.",
            "Compare it with the local_hostname that the engine was given; it may have ended, or never have started.",
        )


def _unreadable(segment: Segment) -> Iterator[Finding]:
    if segment.problems:
        evidence = [Evidence(segment.label, problem) for problem in segment.problems]
        reason = "An engine that asks for this segment cannot use it."
        remedy = "Find out who writes below mooncake/, and remove the entry if nobody needs it."
        yield rules.UNREADABLE.finding(Severity.WARNING, segment.label, evidence, reason, remedy)


def _stale(report: MetadataReport, segments: Sequence[SegmentState]) -> Iterator[Finding]:
    newest: dict[Endpoint, str] = {}
    for state in segments:
        engine = Endpoint(state.segment.host, state.segment.rpc_port)
        newest[engine] = max(newest.get(engine, ""), state.segment.timestamp)
    for state in segments:
        segment = state.segment
        later = newest[Endpoint(segment.host, segment.rpc_port)]
        if state.liveness is Liveness.GONE:
            reason = "Its engine is gone and left its entries behind; peers that pick it fail."
        elif state.liveness is Liveness.ALIVE and segment.timestamp and segment.timestamp < later:
            # Both stamps are of the same host's clock.
            reason = f"Its engine's port belongs to one that registered later ({later}); peers reach the wrong engine."
        else:
            continue
        if not report.lists:
            reason += " This server refuses an engine of the same name until the entries are gone."
        evidence = [Evidence(segment.label, state.detail)]
        if segment.timestamp:
            evidence.append(Evidence("registered", segment.timestamp))
        yield rules.STALE.finding(Severity.WARNING, segment.label, evidence, reason, _removal(report, segment))


def _removal(report: MetadataReport, segment: Segment) -> str:
    name = segment_name(segment.label)
    if not name:
        return "Remove it by its exact name, which --json prints: it holds characters that a terminal does not show."
    option = f"--remove={name}" if segment.label.startswith("-") else f"--remove {name}"
    return f"pdpanel metadata {shlex.quote(str(report.server))} {option}"


def _loopback_segments(report: MetadataReport, segments: Sequence[SegmentState]) -> Iterator[Finding]:
    inside = [one.segment for one in segments if one.segment.rpc_port and Endpoint(one.segment.host, 1).loopback]
    outside = [one.segment for one in segments if one.segment.rpc_port and not Endpoint(one.segment.host, 1).loopback]
    if not inside or (report.server.loopback and not outside):
        return  # All on one host.
    yield rules.SEGMENT_LOOPBACK.finding(
        Severity.WARNING,
        ", ".join(segment.label for segment in inside[:8]),
        [Evidence(segment.label, f"registered {Endpoint(segment.host, segment.rpc_port)}") for segment in inside],
        "Peers on other hosts that look for these engines connect to their own host.",
        "Set MC_TCP_BIND_ADDRESS to the address of each engine's host, and restart the engines.",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "...")) else ".")
