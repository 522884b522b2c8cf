"""Writes a model of random weights in the shape of a real one, where no model can be downloaded.

The models are those of `engine.model.random_models`: transformers, vLLM and the bundled engine open them. Speed depends
on shapes alone; what such a model says means nothing.
On the command line: `python -m pdpanel.panel.bench.random_model FOLDER SHAPE [--seed N]`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...engine.model.random_models import write_random_model
from ...engine.model.random_shapes import SHAPES, TOKENS

__all__ = ["SHAPES", "TOKENS", "main", "write_random_model"]


def main(arguments: Sequence[str]) -> int:
    """Writes the model that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser("random_model", description="Write a model of random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("shape", choices=tuple(SHAPES))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print(write_random_model(options.folder, options.shape, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
