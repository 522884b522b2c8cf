"""The presets that ship with pdpanel and a person's own, as one list that can be searched.

Reads files by their listed names alone. Called by `pdpanel presets` and `pdpanel up --preset`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..engine.errors import ConfigError
from ..presets import PresetError, describe_preset, load_preset, preset_names
from .deployment import Deployment, parse_deployment
from .own_presets import load_own_preset, own_presets

__all__ = ["PresetEntry", "find_presets", "load_any_preset"]


@dataclass(frozen=True, slots=True)
class PresetEntry:
    """One preset.

    Attributes:
        id: its number among the published recipes; "own" for the person's.
        shape: workers by role, such as "2 prefill, 1 decode".
        verified: where it was seen working; empty when nobody did.
        problem: why its file cannot be used; empty when it can.
    """

    name: str
    id: str
    model: str = ""
    engine: str = ""
    engine_version: str = ""
    transport: str = ""
    shape: str = ""
    description: str = ""
    hardware: str = ""
    source: str = ""
    verified: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    def matches(self, words: str) -> bool:
        """Returns True when each of the words is somewhere in the preset, whatever its case."""
        text = " ".join(
            (self.name, self.id, self.model, self.engine, self.transport, self.description, self.hardware, self.source)
        ).lower()
        return all(word in text for word in words.lower().split())


def find_presets(config_dir: Path, words: str = "") -> tuple[PresetEntry, ...]:
    """Returns the presets that match `words`, the person's own first."""
    found = [_own(each.name, each.deployment, each.problem) for each in own_presets(config_dir)]
    found += [_shipped(name) for name in preset_names()]
    return tuple(entry for entry in found if entry.matches(words))


def load_any_preset(config_dir: Path, name: str) -> Deployment:
    """Returns the deployment of a preset; the person's own go before those that ship.

    Raises:
        ConfigError: there is none of this name, or its file cannot be used.
    """
    if any(each.name == name for each in own_presets(config_dir)):
        return load_own_preset(config_dir, name)
    try:
        return parse_deployment(load_preset(name))
    except PresetError as error:
        near = str(error).partition("; ")[2].rstrip(".") or "the list is `pdpanel presets`"
        raise ConfigError("--preset", name, "is not a preset", f"see `pdpanel presets`; {near}") from None


def _shipped(name: str) -> PresetEntry:
    about, deployment = describe_preset(name), parse_deployment(load_preset(name))
    entry = _shown(name, about.id, deployment)
    return replace(
        entry,
        description=about.description,
        hardware=about.hardware,
        source=about.source,
        verified=dict(about.verified),
    )


def _own(name: str, deployment: Deployment | None, problem: str) -> PresetEntry:
    if deployment is None:
        return PresetEntry(name, "own", problem=problem)
    return replace(_shown(name, "own", deployment), description="Your own preset.", source="yours")


def _shown(name: str, number: str, deployment: Deployment) -> PresetEntry:
    counts = [(getattr(deployment, role).count, role) for role in ("prefill", "decode", "unified", "encoder")]
    return PresetEntry(
        name=name,
        id=number,
        model=deployment.model,
        engine=deployment.engine,
        engine_version=deployment.engine_version,
        transport=deployment.transport,
        shape=", ".join(f"{count} {role}" for count, role in counts if count),
    )
