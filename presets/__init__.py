"""What people run: data files and one loader.

Each `<name>.yaml` beside this module holds the fields of a deployment and, under the key `preset`, what it
is for and where it was seen working. Knows nothing of the panel: whether the fields make a deployment is
for the panel to judge.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

__all__ = ["PresetAbout", "PresetError", "describe_preset", "load_preset", "preset_names"]

_ENDING = ".yaml"


class PresetError(LookupError):
    """Raised for a name that no preset has; its text is one sentence with the nearest names."""


@dataclass(frozen=True, slots=True)
class PresetAbout:
    """What a preset is for.

    Attributes:
        id: its number among the published recipes, such as P03; several presets may be variants of one. "bundled" for
            those of the bundled engine.
        description: one sentence.
        hardware: what it was published for.
        source: where it was published.
        verified: where it was seen working: engine, hardware, transport and how it was checked; empty when nobody did.
    """

    id: str
    description: str
    hardware: str
    source: str
    verified: Mapping[str, str]


def preset_names() -> list[str]:
    """Returns the names of all presets, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(_ENDING) for file in files if file.name.endswith(_ENDING))


def load_preset(name: str) -> dict[str, object]:
    """Returns the deployment fields of a preset, a fresh copy each time.

    Raises:
        PresetError: no preset has this name.
    """
    fields = _read(name)
    del fields["preset"]
    return fields


def describe_preset(name: str) -> PresetAbout:
    """Returns what a preset is for.

    Raises:
        PresetError: no preset has this name.
    """
    about = _read(name)["preset"]
    verified = MappingProxyType(dict(about["verified"] or {}))
    return PresetAbout(about["id"], about["description"], about["hardware"], about["source"], verified)


def _read(name: str) -> dict[str, Any]:
    # Only a listed name is opened: the name may come from outside and must not lead anywhere else.
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name[:60], names, n=3, cutoff=0.0)
        raise PresetError(f"There is no preset {name[:60]!r}; the nearest are {', '.join(near)}.")
    return yaml.safe_load((resources.files(__name__) / f"{name}{_ENDING}").read_text("utf-8"))
