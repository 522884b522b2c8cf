"""What `pdpanel presets` prints: the list, or one preset as a deployment file. `panel.cli_planning` parses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from .deployment import dump_deployment
from .preset_catalogue import PresetEntry, find_presets, load_any_preset
from .runner.journal import one_line

__all__ = ["presets", "show_preset"]


def presets(config_dir: Path, words: str, *, as_json: bool) -> None:
    """Prints the presets that match `words`, the person's own first."""
    found = find_presets(config_dir, words)
    if as_json:
        documents = [asdict(entry) | {"verified": entry.verified or None} for entry in found]
        typer.echo(json.dumps(documents, indent=2, ensure_ascii=False))
        return
    for entry in found:
        first, *others = map(one_line, _lines(entry))
        typer.echo("\n    ".join([first, *others]))
    count = f"{len(found)} preset{'' if len(found) == 1 else 's'}"
    typer.echo(f"{count}; start one with `pdpanel up --preset NAME`, see its file with `pdpanel presets NAME`")


def show_preset(config_dir: Path, name: str, *, as_json: bool = False) -> None:
    """Prints one preset as a deployment file, which may be JSON as well."""
    deployment = load_any_preset(config_dir, name)
    if as_json:
        fields = {"name": deployment.name, "engine": deployment.engine, "model": deployment.model}
        fields |= deployment.model_dump(mode="json", exclude_defaults=True)
        typer.echo(json.dumps(fields, indent=2, ensure_ascii=False))
        return
    typer.echo(dump_deployment(deployment), nl=False)


def _lines(entry: PresetEntry) -> Iterator[str]:
    yield f"{entry.name} ({entry.id})"
    if entry.problem:
        yield f"cannot be used: {entry.problem}"
        return
    engine = f"{entry.engine} {entry.engine_version}".strip()
    yield f"{entry.model}; {engine}, {entry.transport}; {entry.shape}"
    yield f"{entry.description}"
    if entry.hardware:
        yield f"hardware: {entry.hardware}"
    yield f"source: {entry.source}"
    verified = ", ".join(f"{name} {fact}" for name, fact in entry.verified.items())
    yield f"verified: {verified or 'not verified'}"
