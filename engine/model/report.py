"""How the model commands speak to whoever started them: JSON lines on stdout, one sentence on stderr.

A line is a progress (`stage`, `done`, `total`), an `error` (the parts of a ConfigError) or the command's
result. Called by `engine.model.convert` and `engine.model.prepare`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict

from ..errors import ConfigError
from .progress import OnProgress, Progress

__all__ = ["run_reporting"]


def run_reporting(action: Callable[[OnProgress], Mapping[str, object]]) -> int:
    """Runs `action` and prints what it reports, returns or raises.

    Returns:
        The exit code: 0, 2 after a ConfigError, 130 after an interrupt.
    """
    last: Progress | None = None

    def show(progress: Progress) -> None:
        nonlocal last
        is_same_stage = last is not None and last.stage == progress.stage
        step = progress.total // 100
        if last is not None and is_same_stage and last.done < progress.done < min(last.done + step, progress.total):
            return
        last = progress
        _say(asdict(progress))

    try:
        _say(action(show))
    except ConfigError as error:
        _say(
            {
                "error": {
                    "field": error.field,
                    "value": error.value,
                    "problem": error.problem,
                    "remedy": error.remedy,
                }
            }
        )
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _say(message: Mapping[str, object]) -> None:
    print(json.dumps(message), flush=True)
