"""Runs SGLang's benchmark client, `python -m sglang.benchmark.serving`, from its wheel alone.

Run by the interpreter of the judge's venv with the client's own arguments. SGLang's packages are entered past their
__init__ files, which import the engine; the one constant of the engine that the client reads is given to it, and so is
an empty `datasets`, which only downloads need.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType

PACKAGES = ("sglang", "sglang.srt", "sglang.srt.utils", "sglang.srt.disaggregation")


def enter(name: str, path: list[str] | None) -> list[str]:
    """Registers a package without running its __init__; returns where its modules lie."""
    spec = PathFinder.find_spec(name, path)
    assert spec is not None
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = package
    return package.__path__


def main() -> None:
    """Starts the client."""
    paths: dict[str, list[str]] = {}
    for name in PACKAGES:
        paths[name] = enter(name, paths.get(name.rpartition(".")[0]))
    constants = ModuleType("sglang.srt.disaggregation.utils")
    constants.FAKE_BOOTSTRAP_HOST = "2.2.2.2"  # type: ignore[attr-defined]
    sys.modules[constants.__name__] = constants
    downloads = ModuleType("datasets")
    downloads.load_dataset = None  # type: ignore[attr-defined]
    sys.modules["datasets"] = downloads
    from sglang.benchmark.serving import cli_main  # type: ignore[import-not-found]

    cli_main()


if __name__ == "__main__":
    main()
