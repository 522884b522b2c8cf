"""Every rule that the doctor has, by group: what `pdpanel doctor --list` shows and docs/findings.md explains."""

from __future__ import annotations

from collections.abc import Mapping

from ...nic_probe.checks.check import Rule
from ...nic_probe.checks.registry import HOST_CHECKS
from ...nic_probe.finding import Severity
from ..dialects import bundled, sglang_rules, vllm_findings
from ..flags import rules as flags
from ..lint import rules as lint
from ..metadata import rules as metadata
from ..recipes import catalog as recipes
from ..results import findings as results
from ..runner import oom, storage_findings
from ..scaling import room
from ..start import start_check
from ..telemetry import findings as telemetry
from . import deployment, exit_code, log, log_load
from .agreement import AGREEMENT_CHECKS
from .harmless import HARMLESS
from .signatures.catalog import SIGNATURES

__all__ = ["ALL_RULES", "RULE_GROUPS", "SEVERITIES"]

RULE_GROUPS: Mapping[str, tuple[Rule, ...]] = {
    "The host": tuple(check.rule for check in HOST_CHECKS),
    "Deployments and launch commands": (*(check.rule for check in AGREEMENT_CHECKS), *deployment.RULES),
    "Starting": start_check.RULES,
    "Plans": (*bundled.RULES, *sglang_rules.RULES, *vllm_findings.RULES, *flags.RULES),
    "Commands and configs from elsewhere": lint.RULES,
    "Logs": (*(signature.rule for signature in (*SIGNATURES, *HARMLESS)), *log.RULES, *log_load.RULES),
    "Processes that ended": (*exit_code.RULES, *oom.RULES),
    "Runs on disk": storage_findings.RULES,
    "Benchmark results": results.RULES,
    "Metadata servers": metadata.RULES,
    "Recipes": recipes.RULES,
    "Telemetry": telemetry.RULES,
    "More or fewer workers": room.RULES,
}
ALL_RULES: tuple[Rule, ...] = tuple(rule for rules in RULE_GROUPS.values() for rule in rules)

SEVERITIES: Mapping[str, Severity] = {signature.rule.id: signature.severity for signature in (*SIGNATURES, *HARMLESS)}
"""How grave the finding of a rule is, where it is always the same."""
