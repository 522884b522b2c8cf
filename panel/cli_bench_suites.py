"""`pdpanel bench engine|pd|transfer|router|start|scale|parallel`: the suites that compare with peers.

A thin shell: `cli_bench` calls `register`. First the machine, then each figure as soon as it is measured, then how many
goals are met. Progress goes to standard error, results to standard output and, with -o, to a file of JSON lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ..engine.errors import ConfigError
from .bench.suite import SUITES, SuiteOptions
from .config import PanelConfig

if TYPE_CHECKING:
    from .bench.comparison import Comparison

__all__ = ["register"]

_HELP = """{about}

Prints the machine, a line for each figure as soon as it is measured, and how many goals are met. Exits with 0 when
everything was measured: a goal that is missed is a result, not an error. Peers that are not installed are left out.
"""


def register(bench: typer.Typer) -> None:
    """Adds a command for each suite to `bench`."""
    for name, about in SUITES.items():
        bench.command(name, help=_HELP.format(about=about))(_command(name))


def _command(suite: str) -> Callable[..., None]:
    def command(
        context: typer.Context,
        short: Annotated[
            bool, typer.Option("--short", help="One small case of each kind: does it work, not how fast is it.")
        ] = False,
        rounds: Annotated[int | None, typer.Option(min=1, max=100, help="Of each comparison. [3; 1 if short]")] = None,
        case: Annotated[
            list[str] | None, typer.Option(metavar="NAME", help="Only cases that begin so; again for more. [all]")
        ] = None,
        seed: Annotated[int, typer.Option(help="Of everything that is chosen at random.")] = 0,
        model: Annotated[
            str, typer.Option(help="A folder, a .gguf file, a catalogue name or a Hub id.")
        ] = SuiteOptions().model,
        output: Annotated[
            Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the JSON lines to a file, too.")
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print a line of JSON for each figure, and no progress.")
        ] = False,
    ) -> None:
        wanted = rounds if rounds is not None else 1 if short else SuiteOptions().rounds
        options = SuiteOptions(short, wanted, seed, tuple(case or ()), model)
        config = context.obj
        assert isinstance(config, PanelConfig)
        _run(suite, options, config, output, as_json=as_json)

    return command


def _run(suite: str, options: SuiteOptions, config: PanelConfig, output: Path | None, *, as_json: bool) -> None:
    from .bench.interrupt import ended_by_sigterm_too
    from .bench.machine import describe_machine, machine_text
    from .bench.suite import measure
    from .runs import Runs

    partial = output.with_name(output.name + ".partial") if output is not None else None
    file = _opened(partial)
    shown: list[Comparison] = []

    def say(line: dict[str, object], text: str) -> None:
        written = json.dumps(line)
        typer.echo(written if as_json else text)
        if file is not None:
            file.write(written + "\n")
            file.flush()

    try:
        machine = describe_machine()
        say({"suite": suite, "machine": machine, "options": _asked(options)}, machine_text(machine))
        figures = measure(suite, options, Runs(config), _teller(as_json=as_json))
        with ended_by_sigterm_too():
            try:
                for figure in figures:
                    shown.append(figure)
                    say(figure.line(suite), figure.text())
            finally:
                # What the suite started is stopped now, not when the interpreter comes to it.
                close = getattr(figures, "close", None)
                if close is not None:
                    close()
        say(*_summary(suite, shown))
    finally:
        if file is not None:
            file.close()
    if partial is not None and output is not None:  # what an earlier run found goes when this one is complete
        partial.replace(output)


def _opened(path: Path | None) -> TextIO | None:
    try:
        return path.open("w", encoding="utf-8") if path is not None else None
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise ConfigError("--output", str(path), problem, "name a file in a folder that exists") from None


def _asked(options: SuiteOptions) -> dict[str, object]:
    return {
        "short": options.short,
        "rounds": options.rounds,
        "seed": options.seed,
        "cases": list(options.only),
        "model": options.model,
    }


def _summary(suite: str, figures: list[Comparison]) -> tuple[dict[str, object], str]:
    judged = [figure for figure in figures if figure.is_met is not None]
    missed = [figure for figure in judged if not figure.is_met]
    line: dict[str, object] = {
        "suite": suite,
        "figures": len(figures),
        "goals_met": len(judged) - len(missed),
        "goals_missed": len(missed),
    }
    text = f"{len(figures)} figures; {len(judged) - len(missed)} of {len(judged)} goals met"
    names = ", ".join(f"{figure.case} {figure.metric}" for figure in missed)
    return line, text + (f"; missed: {names}" if names else "")


def _teller(*, as_json: bool) -> Callable[[str], None]:
    return (lambda text: None) if as_json else (lambda text: typer.echo(text, err=True))
