"""Judges argument lists by the installed SGLang's own parser: a JSON list of them a line, one line of errors each.

Run by the interpreter of the judge's venv. SGLang's package is entered past its __init__, which imports a client and
IPython; triton, which its kernels need and its parser does not, is replaced by an empty module of its name.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class Anything:
    """Stands for whatever a kernel's module wants of triton while it is imported."""

    def __call__(self, *arguments: Any, **words: Any) -> Any:
        return arguments[0] if len(arguments) == 1 and callable(arguments[0]) and not words else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class Empty(ModuleType):
    __version__ = "3.0.0"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()


class WithoutTriton:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "triton" else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def parser() -> argparse.ArgumentParser:
    """Returns SGLang's parser with all of its options."""
    sys.meta_path.insert(0, WithoutTriton())  # type: ignore[arg-type]
    spec = PathFinder.find_spec("sglang")
    assert spec is not None
    package = ModuleType("sglang")
    package.__path__ = list(spec.submodule_search_locations or [])
    package.__spec__ = spec
    sys.modules["sglang"] = package
    from sglang.srt.server_args import ServerArgs  # type: ignore[import-not-found]

    made = argparse.ArgumentParser(prog="launch_server")
    ServerArgs.add_cli_args(made)
    return made


def error_of(made: argparse.ArgumentParser, argv: list[str]) -> str:
    """Returns what the parser says against these arguments; empty when it takes them."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            made.parse_args(argv)
        except SystemExit:
            return said.getvalue().strip().splitlines()[-1]
    return ""


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        made = parser()
    names = sorted({name for action in made._actions for name in action.option_strings})
    choices = {
        name: sorted(str(value) for value in action.choices)
        for action in made._actions
        if action.choices is not None
        for name in action.option_strings
    }
    for line in sys.stdin:
        errors = [error_of(made, argv) for argv in json.loads(line)]
        print(json.dumps({"errors": errors, "options": names, "choices": choices}), flush=True)


main()
