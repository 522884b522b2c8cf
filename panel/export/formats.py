"""The table of all export formats."""

from __future__ import annotations

from collections.abc import Mapping

from . import compose, env, k8s, notebook, sh, slurm, systemd
from .exported import Format

__all__ = ["FORMATS"]

_ALL: tuple[Format, ...] = (
    sh.FORMAT,
    env.FORMAT,
    compose.FORMAT,
    systemd.FORMAT,
    slurm.FORMAT,
    k8s.FORMAT,
    notebook.FORMAT,
)

FORMATS: Mapping[str, Format] = {each.name: each for each in _ALL}
