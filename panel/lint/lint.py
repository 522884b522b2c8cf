"""What is wrong with a text that somebody pasted, and the text as it would be right.

Pure: a text goes in, findings come out, and no text raises. The rules on commands are the doctor's, those on configs
are here. Called by `pdpanel lint`, by the doctor for files, and by the Plan tab.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ...engine.errors import CapacityError, ConfigError
from ...nic_probe.finding import Evidence, Finding, Severity
from ..deployment import parse_deployment_text
from ..doctor.agreement import sorted_findings
from ..doctor.arguments_of import arguments_of_plan
from ..doctor.command import written_command
from ..doctor.deployment import check_commands
from ..doctor.shell import ShellCommand
from ..doctor.worker import WorkerArguments
from ..host_facts import elsewhere
from ..plan import plan
from .commands import MOST_JUDGED, corrected_text, judged, read_commands, rewritten, with_version
from .edit import Edit, apply_edits
from .json_text import compact, embedded_objects, pretty, repair
from .kind import MOST_CHARACTERS, Kind, Pasted, recognise
from .manifests import corrected_manifest, manifest_commands
from .mooncake_config import check_mooncake_config
from .mooncake_keys import mooncake_dialects
from .rules import BROKEN, DEPLOYMENT, NOTHING, TOO_LARGE

__all__ = ["LintReport", "lint_text"]

_MOST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class LintReport:
    """What was found.

    Attributes:
        kind: what the text is, such as shell, compose or mooncake-config; unknown when nothing in it can be judged.
        findings: the gravest first.
        corrected: the text with what is plainly wrong put right; None when there is nothing to put right.
    """

    kind: str
    findings: tuple[Finding, ...]
    corrected: str | None


@dataclass(frozen=True, slots=True)
class _Judged:
    findings: tuple[Finding, ...]
    corrected: str | None = None
    kind: Kind | None = None


def lint_text(text: str, source: str = "input", engine_version: str = "") -> LintReport:
    """Returns what is wrong with a text.

    Args:
        text: commands, a script, a config, a manifest or a deployment; of more than 256 KiB the beginning counts.
        source: what findings call it.
        engine_version: the engine's version where the text does not say it; empty is today's.
    """
    pasted = recognise(text)
    answer = _JUDGES[pasted.kind](pasted, source, engine_version)
    findings = answer.findings
    if len(text) > MOST_CHARACTERS:
        evidence = (Evidence(source, f"{len(text)} characters"),)
        reason = f"Only the first {MOST_CHARACTERS} characters were read."
        findings = (*findings, TOO_LARGE.finding(Severity.WARNING, source, evidence, reason, "Lint it in pieces."))
    corrected = answer.corrected
    if corrected is not None and (corrected == pasted.text or len(text) > MOST_CHARACTERS):
        corrected = None
    return LintReport(str(answer.kind or pasted.kind), sorted_findings(findings), corrected)


def _shell(pasted: Pasted, source: str, engine_version: str) -> _Judged:
    text = pasted.text
    commands = read_commands(text, source, engine_version)
    findings = judged(commands)
    several = len({one.worker.node for one in commands if one.worker.node}) > 1
    edits: list[Edit] = []
    configs = 0
    for start, end, value in embedded_objects(text):
        if not mooncake_dialects(value):
            continue
        configs += 1
        place = f"{source}:{text.count(chr(10), 0, start) + 1}"
        found, right = check_mooncake_config(value, place, several_nodes=several)
        findings += found
        if right != value:
            edits.append(Edit(start, end, pretty(right)))
    if not commands and not configs:
        return _nothing(pasted, source, engine_version)
    if len(commands) >= MOST_JUDGED:
        evidence = (Evidence(source, f"{MOST_JUDGED} commands and more"),)
        reason = f"Only the first {MOST_JUDGED} commands were judged."
        findings = (*findings, TOO_LARGE.finding(Severity.INFO, source, evidence, reason, "Lint it in pieces."))
    # The configs go first, since their places were read from this text.
    corrected = apply_edits(text, edits)
    if commands:
        corrected = corrected_text(corrected, source, engine_version)
    return _Judged(findings, corrected)


def _manifest(pasted: Pasted, source: str, engine_version: str) -> _Judged:
    commands = with_version(manifest_commands(pasted, source), engine_version)
    if not commands:
        return _nothing(pasted, source, engine_version)
    corrected = pasted
    for _ in range(_MOST_ROUNDS):
        text = corrected_manifest(corrected, source, engine_version)
        again = recognise(text)
        if text == corrected.text or again.kind is not pasted.kind:
            break
        corrected = again
    return _Judged(judged(commands), corrected.text)


def _mooncake(pasted: Pasted, source: str, _: str) -> _Judged:
    findings, right = check_mooncake_config(pasted.value, source)
    return _Judged(findings, pretty(right) + "\n" if right != pasted.value else None)


def _option_value(name: str) -> Callable[[Pasted, str, str], _Judged]:
    """Returns the judge of JSON that is the value of one option: the option's own rules judge it."""

    def judge(pasted: Pasted, source: str, engine_version: str) -> _Judged:
        words = (f"--{name}", compact(pasted.value))
        program = "sglang.launch_server" if name == "disaggregation-ib-device" else "vllm"
        start = ("python3", "-m", program) if program != "vllm" else ("vllm", "serve")
        command = ShellCommand(1, (*start, *words), {})
        commands = with_version(written_command(command, source), engine_version)
        partial = [_partial(one.worker, source) for one in commands]
        findings = check_commands(partial)
        (rewrite,) = rewritten(commands)
        options = [word for word in rewrite.result() if word.startswith("{")]
        right = repair(options[-1]) if options else None
        return _Judged(findings, pretty(right) + "\n" if right is not None and right != pasted.value else None)

    return judge


def _partial(worker: WorkerArguments, source: str) -> WorkerArguments:
    return replace(worker, partial=True, name=source)


def _broken(pasted: Pasted, source: str, engine_version: str) -> _Judged:
    meant = repair(pasted.text)
    evidence = (Evidence(source, pasted.problem),)
    if meant is None:
        reason = "The text begins like JSON and is none."
        return _Judged((BROKEN.finding(Severity.ERROR, source, evidence, reason, "Correct it there."),))
    inner = lint_text(pretty(meant), source, engine_version)
    right = inner.corrected or pretty(meant) + "\n"
    broken = BROKEN.finding(Severity.ERROR, source, evidence, "This is no JSON.", "Write it as shown.", compact(meant))
    return _Judged((broken, *inner.findings), right, Kind(inner.kind))


def _deployment(pasted: Pasted, source: str, _: str) -> _Judged:
    try:
        deployment = parse_deployment_text(pasted.text, source)
        made = plan(deployment, elsewhere(), None)
    except ConfigError as error:
        evidence = (Evidence(source, f"{error.field} = {error.value!r}"[:200]),)
        remedy = error.remedy[:1].upper() + error.remedy[1:] + "."
        reason = f"{error.field} {error.problem}."
        return _Judged((DEPLOYMENT.finding(Severity.ERROR, error.field, evidence, reason, remedy),))
    except CapacityError as error:
        evidence = (Evidence(source, str(error)),)
        return _Judged((DEPLOYMENT.finding(Severity.ERROR, "ports", evidence, "No plan can be made.", ""),))
    return _Judged((*made.findings, *check_commands(arguments_of_plan(made))))


def _nothing(pasted: Pasted, source: str, _: str) -> _Judged:
    shown = pasted.text.strip().splitlines()[:1]
    evidence = (Evidence(source, shown[0][:120] if shown else "empty"),)
    reason = "The text holds no launch command and no configuration that is known."
    remedy = "Paste a command that starts a worker or a router, a Mooncake config, a compose file or a deployment."
    return _Judged((NOTHING.finding(Severity.ERROR, source, evidence, reason, remedy),), None, Kind.UNKNOWN)


_Judge = Callable[[Pasted, str, str], _Judged]
_JUDGES: Mapping[Kind, _Judge] = {
    Kind.SHELL: _shell,
    Kind.SLURM: _shell,
    Kind.MOONCAKE: _mooncake,
    Kind.IB_MAP: _option_value("disaggregation-ib-device"),
    Kind.KV_CONFIG: _option_value("kv-transfer-config"),
    Kind.COMPOSE: _manifest,
    Kind.MANIFEST: _manifest,
    Kind.DEPLOYMENT: _deployment,
    Kind.BROKEN_JSON: _broken,
    Kind.UNKNOWN: _nothing,
}
