"""From the arguments of `pdpanel up` to a Deployment: a file, a preset or the default, and the edits.

Knows nothing of runs; `panel.cli` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..engine.errors import ConfigError
from .deployment import Deployment, load_deployment, parse_deployment
from .preset_catalogue import load_any_preset

__all__ = ["DEFAULT_MODEL", "Edits", "assemble", "edited"]

DEFAULT_MODEL = "SmolLM2-135M-Instruct"


@dataclass(frozen=True, slots=True)
class Edits:
    """What the options change; None leaves it as it is."""

    model: str | None = None
    prefill: int | None = None
    decode: int | None = None
    unified: int | None = None
    transport: str | None = None
    port: int | None = None
    name: str | None = None


def assemble(file: Path | None, preset: str | None, edits: Edits, config_dir: Path) -> Deployment:
    """Returns the Deployment that the arguments describe; a person's own presets are in `config_dir`.

    Raises:
        ConfigError: a file and a preset are given, one of them cannot be used, or the result makes no sense.
    """
    if file is not None and preset is not None:
        raise ConfigError("--preset", preset, "cannot go with a deployment file", "give one of them")
    if file is not None:
        fields: dict[str, object] = load_deployment(file).model_dump(mode="python")
    elif preset is not None:
        fields = load_any_preset(config_dir, preset).model_dump(mode="python")
    else:
        fields = {"model": DEFAULT_MODEL, "prefill": {"count": 1}, "decode": {"count": 1}}
    return edited(fields, edits)


def edited(fields: dict[str, object], edits: Edits) -> Deployment:
    """Returns the Deployment of `fields`, which are changed, after the edits; raises ConfigError as `assemble`."""
    _edit(fields, edits)
    return parse_deployment(fields)


def _edit(fields: dict[str, object], edits: Edits) -> None:
    named = {"model": edits.model, "transport": edits.transport, "name": edits.name}
    fields |= {field: value for field, value in named.items() if value is not None}
    if edits.port is not None:
        _within(fields, "router")["port"] = edits.port
    counts = {"prefill": edits.prefill, "decode": edits.decode, "unified": edits.unified}
    if edits.unified and edits.prefill is None and edits.decode is None:
        counts |= {"prefill": 0, "decode": 0}
    elif (edits.prefill is not None or edits.decode is not None) and edits.unified is None:
        counts["unified"] = 0
        for role in ("prefill", "decode"):
            if counts[role] is None and not _within(fields, role).get("count"):
                counts[role] = 1
    for role, count in counts.items():
        if count is not None:
            _within(fields, role)["count"] = count


def _within(fields: dict[str, object], field: str) -> dict[str, object]:
    """Returns the mapping in `field`, as a copy that may be changed; made if it is missing."""
    part = fields.get(field)
    mine: dict[str, object] = dict(part) if isinstance(part, Mapping) else {}
    fields[field] = mine
    return mine
