"""Collects what a bug report needs of one run: host, deployment, plan, record, findings, samples, ends of logs.

A part that cannot be had, as on the bad day that the report is about, says why in its place. Nothing leaves the host:
`report.report` takes the secrets out and packs. `RunReports` is what the command line and the page use.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...engine.errors import PdpanelError
from ..config import inherited_environment, this_person
from ..redact import Redactor
from ..rundir import RunDir
from ..runner.log_cap import head_of
from ..runner.state import MODEL_STEP
from .log_ends import HEAD_BYTES, TAIL_BYTES, read_ends
from .report import Report, make_report
from .sample_csv import to_csv
from .versions import versions

if TYPE_CHECKING:
    from ..runs import Runs
    from ..simulate.simulation import Simulation

__all__ = ["RunReports"]

_ALL_LOGS_BYTES = 64 << 20
_LEAST_LOG_BYTES = 64 << 10
_ROWS = 1000
_LAST_S = 900.0
_FAR_S = 1e11
# As in a dump: of a MAC address the vendor alone.
_MAC = re.compile(r"\b((?:[0-9a-fA-F]{2}:){2}[0-9a-fA-F]{2})(?::[0-9a-fA-F]{2}){3}\b")
_ABOUT = """\
A report about the run {run} of pdpanel, made {when} (UTC).

host.json        the host as the probe sees it
deployment.yaml  what was wanted; plan.json: the commands and files that it came to
record.json      the last state of the run and its processes
findings.json    what the doctor says of the host, the plan and the logs
samples.csv      the whole run; samples-last.csv: its last 15 minutes as sampled
runner.log       what the runner did
logs/            of each process the first {head} KiB and the last part of its log
versions.json    versions of the packages that matter

Tokens, keys, passwords, home directories and the user's name were taken out and show as <redacted>, ~ and user.
IP addresses, names of hosts and devices, prompts that a log repeats and everything else are as they were.
"""


class RunReports:
    """Reports about runs.

    Args:
        runs: all runs.
        probes_host: False leaves the host out, which takes the longest.
    """

    def __init__(self, runs: Runs, *, probes_host: bool = True) -> None:
        self._runs = runs
        self._probes_host = probes_host

    def report(self, run_id: str) -> Report:
        """Returns the report about a run, without secrets.

        Raises:
            NotFoundError: there is no such run.
        """
        self._runs.get(run_id)
        person = this_person()
        return make_report(self._texts(run_id), Redactor(person.home, person.user))

    def _texts(self, run_id: str) -> Iterator[tuple[str, str]]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        simulation = self._runs.simulation
        told = f"{simulation.told}\n\n" if simulation else ""
        yield "README.txt", told + _ABOUT.format(run=run_id, when=when, head=HEAD_BYTES >> 10)
        yield "versions.json", _json(versions())
        yield "record.json", _part(lambda: msgspec.json.format(msgspec.json.encode(self._runs.get(run_id))).decode())
        yield "deployment.yaml", _part(lambda: self._runs.deployment_text(run_id))
        yield "plan.json", _part(lambda: msgspec.json.format(msgspec.json.encode(self._runs.plan(run_id))).decode())
        if self._probes_host:
            host = _part(lambda: _host(self._runs.simulation))
            yield "host.json", host
        logs = self._logs(run_id)
        yield "findings.json", _part(lambda: self._findings(run_id, logs))
        head = f"# {simulation.told}\n" if simulation else ""
        yield "samples.csv", head + _part(lambda: to_csv(self._runs.range(run_id, -_FAR_S, _FAR_S, _ROWS)))
        yield "samples-last.csv", head + _part(lambda: self._last_samples(run_id))
        yield from logs

    def _last_samples(self, run_id: str) -> str:
        rows = self._runs.samples(run_id).rows
        end = rows[-1].t if rows else 0.0
        return to_csv(self._runs.range(run_id, end - _LAST_S, end, 2000))

    def _logs(self, run_id: str) -> list[tuple[str, str]]:
        # By the record, not by the plan, which may be what is broken.
        found = [Path(process.log) for process in self._runs.get(run_id).processes]
        rundir = RunDir(found[0].parent.parent)
        tail_bytes = max(_LEAST_LOG_BYTES, min(TAIL_BYTES, _ALL_LOGS_BYTES // len(found)))
        texts = []
        for path in (*found, rundir.logs / f"{MODEL_STEP}.log", rundir.runner_log):
            shown = path.name if path == rundir.runner_log else f"logs/{path.name}"
            if path.exists():
                texts.append((shown, _part(lambda path=path: read_ends(path, tail_bytes=tail_bytes))))
            head = head_of(path)
            if head.exists():  # The log was cut: its own first bytes are no beginning.
                texts.append((f"logs/{head.name}", _part(lambda head=head: _beginning(head))))
        return texts

    def _findings(self, run_id: str, logs: list[tuple[str, str]]) -> str:
        from ..doctor.deployment import check_plan
        from ..doctor.log import explain_log
        from ..doctor_text import finding_json

        run = self._runs.get(run_id)
        found = {"run": [finding_json(one) for one in (*run.findings, *(f for p in run.processes for f in p.findings))]}
        with suppress(PdpanelError):
            found["plan"] = [finding_json(finding) for finding in check_plan(self._runs.plan(run_id))]
        for name, text in logs:
            if findings := explain_log(text.splitlines(), name).findings:
                found[name] = [finding_json(finding) for finding in findings]
        return _json(found)


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES).decode("utf-8", "replace")


def _host(simulation: Simulation | None) -> str:
    """Returns this host, or the simulated one, as the probe sees it, with what the doctor says of it."""
    from ...nic_probe import probe_document, probe_host, survey_topology
    from ...nic_probe.checks.registry import check_host
    from ...nic_probe.host import this_host_files

    environ = inherited_environment()
    host = probe_host(simulation.files if simulation else this_host_files(environ), environ)
    topology = survey_topology(host)
    findings = [asdict(finding) for finding in check_host(host, topology)]
    text = _json({"probe": probe_document(host, topology), "findings": findings})
    return _MAC.sub(r"\1:00:00:00", text)


def _part(make: Callable[[], str]) -> str:
    try:
        return make()
    except Exception as error:
        # A report is made when something is wrong: the part that fails must not take the others along.
        return f"This could not be gathered: {type(error).__name__}: {error}\n"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"
