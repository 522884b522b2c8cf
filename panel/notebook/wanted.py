"""From what a person hands to `deploy` to a Deployment, and whether it brings commands that need their consent.

Knows nothing of notebooks and starts nothing. A name is a preset, a path is a file, a text of several lines is YAML;
keywords change what that gives.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ...engine.errors import ConfigError
from ..cli_deployment import DEFAULT_MODEL, Edits, edited
from ..deployment import Deployment, load_deployment, parse_deployment, parse_deployment_text
from ..preset_catalogue import load_any_preset

__all__ = ["Source", "read_wanted"]

Source = Deployment | Mapping[str, object] | str | os.PathLike[str] | None

_COUNTS = ("prefill", "decode", "unified")
_WORDS = ("model", "transport", "name")


def read_wanted(source: Source, fields: Mapping[str, object], config_dir: Path) -> tuple[Deployment, str]:
    """Returns the Deployment, and the name of the file that it came from, empty when it is the person's own words.

    Args:
        source: a Deployment, its fields, a preset's name, a file's path, YAML, or None for the default.
        fields: what to change: counts of workers as numbers, `port` of the router, and any field of a deployment.
        config_dir: where the person's own presets are.

    Raises:
        ConfigError: something of it cannot be used.
    """
    base, origin = _base(source, config_dir)
    rest = dict(fields)
    counts = {name: _count(name, rest.pop(name)) for name in _COUNTS if not isinstance(rest.get(name), Mapping | None)}
    words = {name: str(rest.pop(name)) for name in _WORDS if rest.get(name) is not None}
    port = _count("port", rest.pop("port")) if rest.get("port") is not None else None
    edits = Edits(
        model=words.get("model"),
        transport=words.get("transport"),
        name=words.get("name"),
        prefill=counts.get("prefill"),
        decode=counts.get("decode"),
        unified=counts.get("unified"),
        port=port,
    )
    return edited(base | {name: value for name, value in rest.items() if value is not None}, edits), origin


def _base(source: Source, config_dir: Path) -> tuple[dict[str, object], str]:
    if source is None:
        return {"model": DEFAULT_MODEL, "prefill": {"count": 1}, "decode": {"count": 1}}, ""
    if isinstance(source, Deployment):
        return source.model_dump(mode="python"), ""
    if isinstance(source, Mapping):
        return parse_deployment(source).model_dump(mode="python"), ""
    text = os.fspath(source)
    if "\n" in text:
        return parse_deployment_text(text).model_dump(mode="python"), "the text"
    if not isinstance(source, str) or "/" in text or text.endswith((".yaml", ".yml")):
        return load_deployment(Path(text).expanduser()).model_dump(mode="python"), text
    return load_any_preset(config_dir, text).model_dump(mode="python"), ""


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(name, value, "is not a whole number", f"write one, as in deploy({name}=2)")
    return value
