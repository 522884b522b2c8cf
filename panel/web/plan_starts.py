"""What a person may begin a deployment with: the default, the bundled presets and their own.

Opens presets by their listed names alone, never a path that the page names. Called by `plan_routes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError, NotFoundError
from ...presets import PresetError, describe_preset, load_preset, preset_names
from ..cli_deployment import DEFAULT_MODEL
from ..deployment import Deployment, dump_deployment, parse_deployment
from ..dialects.registry import DIALECTS, dialect_of
from ..own_presets import load_own_preset, own_presets

__all__ = ["default_text", "start_text", "starts"]


def default_text() -> str:
    """Returns the deployment that runs everywhere: the bundled engine, one worker of each."""
    fields = {"model": DEFAULT_MODEL, "prefill": {"count": 1}, "decode": {"count": 1}}
    return dump_deployment(parse_deployment(fields))


def starts(config_dir: Path | None) -> list[dict[str, Any]]:
    """Returns the presets, the person's own first: {name, own, about, model, engine, dialect, hardware, verified}."""
    own = (
        []
        if config_dir is None
        else [_own(each.name, each.deployment, each.problem) for each in own_presets(config_dir)]
    )
    return own + [_bundled(name) for name in preset_names()]


def start_text(name: str, own: bool, config_dir: Path | None) -> str:
    """Returns a preset's deployment as YAML.

    Raises:
        ConfigError: the preset cannot be used.
        NotFoundError: there is none of this name.
    """
    if own and config_dir is not None:
        return dump_deployment(load_own_preset(config_dir, name))
    try:
        return dump_deployment(parse_deployment(load_preset(name)))
    except PresetError as error:
        raise NotFoundError("preset", name, "is not a preset", "choose one of the list") from error


def _own(name: str, deployment: Deployment | None, problem: str) -> dict[str, Any]:
    about = {
        "name": name,
        "own": True,
        "about": problem,
        "hardware": "",
        "verified": "",
        "usable": deployment is not None,
    }
    return about | (_described(deployment) if deployment else {"model": "", "engine": "", "dialect": ""})


def _bundled(name: str) -> dict[str, Any]:
    about = describe_preset(name)
    entry: dict[str, Any] = {"name": name, "own": False, "about": about.description, "usable": True}
    entry["hardware"] = str(getattr(about, "hardware", "") or about.verified.get("hardware", ""))
    entry["verified"] = _verified(about.verified)
    try:
        return entry | _described(parse_deployment(load_preset(name)))
    except ConfigError as error:
        return entry | {"model": "", "engine": "", "dialect": "", "usable": False, "about": str(error)}


def _verified(verified: Mapping[str, str]) -> str:
    said = [f"{key} {value}" if key == "by" else str(value) for key, value in verified.items()]
    return ", ".join(said)


def _described(deployment: Deployment) -> dict[str, str]:
    try:
        dialect = DIALECTS[dialect_of(deployment).name].title
    except (ConfigError, KeyError):
        dialect = deployment.dialect or deployment.engine
    roles = [(role, getattr(deployment, role).count) for role in ("prefill", "decode", "unified", "encoder")]
    return {
        "model": deployment.model,
        "engine": f"{deployment.engine} {deployment.engine_version}".strip(),
        "dialect": dialect,
        "shape": ", ".join(f"{count} {role}" for role, count in roles if count),
    }
