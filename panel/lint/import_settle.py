"""Brings a draft to the deployment whose commands are nearest to those that were read.

Pure: renders the draft, drops what the dialect refuses, puts back what got lost, and tries the few choices that
commands do not tell (who counts GPUs, which port is whose) until no other one fits better. Called by `importing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...engine.errors import CapacityError, ConfigError
from ..deployment import Deployment
from ..doctor.command import WrittenCommand
from ..doctor.worker import WorkerRole
from .draft import DeploymentDraft
from .import_compare import Difference, config_differences, differences, planned_commands, rendered
from .import_options import flag_value
from .import_roles import ROLES

__all__ = ["Settled", "settle"]

_MOST_DROPPED = 40
_MOST_WORK = 6000
_NEVER = 10**9


@dataclass(slots=True)
class Settled:
    """What came out.

    Attributes:
        differences: what the deployment's commands still have otherwise.
        dropped: (what, why) of each field that no dialect or rule takes.
        configs: keys of configs that come out otherwise, with their values.
        refused: why no plan can be made, when none can.
    """

    deployment: Deployment | None = None
    differences: list[Difference] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    configs: list[tuple[str, object]] = field(default_factory=list)
    refused: list[ConfigError | CapacityError] = field(default_factory=list)


def settle(
    draft: DeploymentDraft, commands: Sequence[WrittenCommand], configs: Sequence[Mapping[str, object]] = ()
) -> Settled:
    """Returns the nearest deployment.

    Args:
        draft: what was read.
        commands: those that it was read from.
        configs: Mooncake's configs beside them.
    """
    settled = Settled()
    judge = _Judge(commands, configs)
    draft = _accepted(draft, judge, settled)
    best, found = judge.score(draft)
    observed = _observed(draft)
    if observed is not None and (other := judge.score(observed))[0] <= best:
        draft, (best, found) = observed, other
    work = 0
    for _ in range(3):
        before = best
        for candidate in _candidates(draft, commands, found):
            work += len(commands)
            if best == 0 or work > _MOST_WORK:
                break
            score, other = judge.score(candidate)
            if score < best:
                draft, best, found = candidate, score, other
        if best in {0, before}:
            break
    try:
        settled.deployment = draft.deployment()
    except ConfigError as error:
        settled.refused.append(error)
        return settled
    settled.differences = found
    try:
        settled.configs = config_differences(configs, rendered(settled.deployment))
    except (ConfigError, CapacityError) as error:
        settled.refused.append(error)
    return settled


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says how far a draft is from what was read."""

    commands: Sequence[WrittenCommand]
    configs: Sequence[Mapping[str, object]]

    def score(self, draft: DeploymentDraft) -> tuple[int, list[Difference]]:
        """Returns how much differs, and what of it in commands."""
        try:
            made = rendered(draft.deployment())
        except (ConfigError, CapacityError):
            return _NEVER, []
        found = differences(self.commands, planned_commands(made))
        return sum(difference.size for difference in found) + len(config_differences(self.configs, made)), found


def _accepted(draft: DeploymentDraft, judge: _Judge, settled: Settled) -> DeploymentDraft:
    """Returns the draft without the fields that are refused; what is set of choices is tried before that."""
    for _ in range(_MOST_DROPPED):
        try:
            rendered(draft.deployment())
            return draft
        except CapacityError:
            return draft
        except ConfigError as error:
            for candidate in _candidates(draft, judge.commands, []):
                if judge.score(candidate)[0] < _NEVER:
                    return candidate
            name = _field_of(draft, error.field)
            if not name:
                return draft
            value = draft.drop(name)
            settled.dropped.append((f"{name} = {value}", f"{error.problem}; {error.remedy}"))
    return draft


def _field_of(draft: DeploymentDraft, name: str) -> str:
    """Returns the field of the draft that an error is about: itself, or the nearest whole that it is part of."""
    name = name.partition(" ")[0]
    while name and draft.get(name) is None:
        name = name.rpartition(".")[0]
    return "" if name in {"model", "engine", "prefill", "decode", "unified", "encoder", "router"} else name


def _candidates(
    draft: DeploymentDraft, commands: Sequence[WrittenCommand], found: Sequence[Difference]
) -> Iterator[DeploymentDraft]:
    """Yields drafts that may render nearer to the commands."""
    yield from _put_back(draft, found)
    for value in (None, "none", "base-gpu-id", "visible-devices"):
        if draft.get("gpu_selection") != value:
            yield draft.with_field("gpu_selection", value)
    for role in ("prefill", "decode", "unified", "encoder"):
        for name in ("base_gpu_id", "gpus", "bootstrap_port", "port", "dist_port", "kv_port"):
            if draft.get(f"{role}.{name}") is not None:
                yield draft.with_field(f"{role}.{name}", None)
    for name in ("kind", "host", "policy", "metrics_port"):
        if draft.get(f"router.{name}") not in {None, "none"}:
            yield draft.with_field(f"router.{name}", None)
    for node in _nodes(commands):
        if draft.get("router.kind") != "none":
            yield draft.with_field("router.node", node)
        if draft.get("metadata.start"):
            yield draft.with_field("metadata.node", node)
    if draft.get("store") is not None:
        for name in ("metadata", "segment_size", "flags"):
            yield draft.with_field(f"store.{name}", None)


def _observed(draft: DeploymentDraft) -> DeploymentDraft | None:
    """Returns the draft with `observe` for the options and variables that it stands for; None when none is there."""
    observed = draft.with_field("observe", True)
    for role in ("prefill", "decode", "unified"):
        observed = observed.with_field(f"{role}.flags.enable-metrics", None)
        observed = observed.with_field(f"{role}.env.MC_TE_METRIC", None)
    observed = observed.with_field("env.MC_TE_METRIC", None)
    return observed if observed.fields != draft.with_field("observe", True).fields else None


def _nodes(commands: Sequence[WrittenCommand]) -> list[str]:
    return list(dict.fromkeys(one.worker.node for one in commands if one.worker.node))[:8]


def _put_back(draft: DeploymentDraft, found: Sequence[Difference]) -> Iterator[DeploymentDraft]:
    """Yields drafts with options and variables that got lost as flags and variables of their role."""
    for difference in found:
        if difference.written is None:
            continue
        worker = difference.written.worker
        role = "router" if worker.role is WorkerRole.ROUTER else ROLES.get(worker.role)
        if role is None:
            continue
        for name, values in difference.missing:
            if name in {"", "program"} or values[:1] == ("***",):
                continue
            target = f"{role}.env.{name[:-1]}" if name.endswith("=") else f"{role}.flags.{name}"
            value: Any = values[0] if name.endswith("=") else flag_value(worker.engine, name, values)
            if draft.get(target) != value:
                yield draft.with_field(target, value)
        for name, values in difference.added:
            if name in {"", "program"} or name.endswith("="):
                continue
            field_name = {"tp-size": "tp", "dp-size": "dp", "pp-size": "pp"}.get(name)
            if field_name and values == ("1",):
                yield draft.with_field(f"{role}.{field_name}", None)
            if draft.get(f"{role}.flags.{name}") is not None:
                # A field of the deployment says it as well.
                yield draft.with_field(f"{role}.flags.{name}", None)
