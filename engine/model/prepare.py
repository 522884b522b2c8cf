"""Fetches and converts a model before any worker starts: `python -m pdpanel.engine.model.prepare MODEL`.

Prints JSON lines (`stage`, `done`, `total`, and at the end the model's `directory`, `name`, `source` and
`sha256`), so that the panel can show the progress. Exit code 2 and one sentence on stderr when the model
cannot be had. Never imports torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from ..config import Environment, read_environment
from .progress import OnProgress
from .report import run_reporting
from .store import ResolvedModel, resolve_model

__all__ = ["main", "prepare"]


def prepare(model_path: str, environment: Environment, on_progress: OnProgress) -> ResolvedModel:
    """Returns the model that `model_path` names, ready to load; see `engine.model.store.resolve_model`.

    Raises:
        ConfigError: it cannot be found, fetched, read or served.
    """
    return resolve_model(model_path, environment, on_progress)


def main(arguments: Sequence[str]) -> int:
    """Prepares MODEL and returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m pdpanel.engine.model.prepare MODEL", file=sys.stderr)
        return 2

    def action(on_progress: OnProgress) -> Mapping[str, object]:
        model = prepare(arguments[0], read_environment(), on_progress)
        return {
            "directory": str(model.directory),
            "name": model.name,
            "source": str(model.source),
            "sha256": model.model_sha,
        }

    return run_reporting(action)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
