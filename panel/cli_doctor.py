"""What `pdpanel doctor` does and prints: it looks at a host, a deployment or logs, and says what is wrong.

Reads the files that the person named and hands their text to `panel.doctor`, which judges. `panel.cli` parses
the arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from ..engine.errors import ConfigError
from ..nic_probe import Finding, Severity
from ..nic_probe.checks.registry import check_host, outcomes
from .cli_probe import HostSource, read_host
from .doctor_text import count_of, finding_json, findings_text, rule_text

__all__ = ["Wanted", "doctor", "show_rules"]

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at: the host alone; or logs; or a deployment on the host.

    Attributes:
        logs: files that are explained, and compared when they are of workers of one deployment.
        deployment: a deployment file or a script of launch commands.
    """

    source: HostSource
    logs: tuple[Path, ...] = ()
    deployment: Path | None = None

    @property
    def asks_for_host(self) -> bool:
        """False when logs alone are to be explained, which may come from anywhere."""
        return not self.logs or self.deployment is not None or self.source != HostSource()


def doctor(wanted: Wanted, *, as_json: bool) -> int:
    """Prints the findings and returns 1 when one of them is an error, else 0.

    Raises:
        ConfigError: something that was named cannot be read.
    """
    findings: list[Finding] = []
    checks: dict[str, str] = {}
    findings += _explained(wanted.logs)
    if wanted.asks_for_host:
        host, topology = read_host(wanted.source)
        findings += check_host(host, topology)
        checks = {name: str(outcome) for name, outcome in outcomes(host, topology).items()}
        if wanted.deployment is not None:
            from .doctor.deployment import check_deployment_file

            findings += check_deployment_file(wanted.deployment, host, topology)
    findings.sort(key=lambda finding: _ORDER.index(finding.severity))
    if as_json:
        counts = {str(severity): count_of(findings, severity) for severity in _ORDER}
        answer = {"findings": [finding_json(finding) for finding in findings], "counts": counts, "checks": checks}
        typer.echo(json.dumps(answer, indent=2))
    else:
        typer.echo(findings_text(findings), nl=False)
    return 1 if count_of(findings, Severity.ERROR) else 0


def _explained(paths: Sequence[Path]) -> Iterator[Finding]:
    if not paths:
        return
    from .doctor.agreement import check_agreement
    from .doctor.log import explain_log
    from .doctor.log_arguments import ArgumentsReader

    workers = []
    for path in paths:
        settled = ArgumentsReader(str(path))
        yield from explain_log(settled.watched(_lines(path)), str(path)).findings
        workers += settled.workers()
    yield from check_agreement(workers)


def _lines(path: Path) -> Iterator[bytes]:
    from .doctor.log_line import bounded_lines
    from .doctor.source_file import open_source

    remedy = "name a log file that this user can read"
    with open_source(path, "--log", remedy) as file:
        try:
            yield from bounded_lines(file)
        except OSError as error:
            raise ConfigError("--log", str(path), error.strerror or "cannot be read", remedy) from None


def show_rules(explain: str | None, *, as_json: bool) -> None:
    """Prints everything that is looked for, or what one finding's id means.

    Raises:
        ConfigError: there is no such id.
    """
    from .doctor.rules import ALL_RULES

    if explain is None:
        if as_json:
            rules = [{"id": rule.id, "title": rule.title, "references": list(rule.references)} for rule in ALL_RULES]
            typer.echo(json.dumps({"rules": rules}, indent=2))
        else:
            width = max(len(rule.id) for rule in ALL_RULES)
            typer.echo("\n".join(f"{rule.id:<{width}}  {rule.title}" for rule in ALL_RULES))
        return
    for rule in ALL_RULES:
        if rule.id == explain:
            fields = {"id": rule.id, "title": rule.title, "explanation": rule.explanation}
            text = json.dumps(fields | {"references": list(rule.references)}, indent=2) + "\n"
            typer.echo(text if as_json else rule_text(rule), nl=False)
            return
    from difflib import get_close_matches

    near = get_close_matches(explain, [rule.id for rule in ALL_RULES], n=3, cutoff=0.4)
    remedy = f"perhaps one of {', '.join(near)}" if near else "see `pdpanel doctor --list`"
    raise ConfigError("--explain", explain, "is not the id of a finding", remedy)
