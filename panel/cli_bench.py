"""`pdpanel bench`: benchmarks that start what they measure.

A thin shell: `panel.cli` calls `register`. Progress goes to standard error, results to standard output.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from . import cli_bench_suites
from .bench.interrupt import ended_by_sigterm_too
from .config import PanelConfig

if TYPE_CHECKING:
    from .runs import Runs

__all__ = ["register"]

bench = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Benchmarks of the bundled engine and of the panel: each starts what it measures, and stops it.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON at the end, and no progress.")]
ModelOption = Annotated[str, typer.Option(help="A folder, a .gguf file, a catalogue name or a Hub id.")]
TransportOption = Annotated[str, typer.Option(help="What carries the KV cache: mooncake_tcp or tcp.")]
SeedOption = Annotated[int, typer.Option(help="Of everything that is chosen at random.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    cli_bench_suites.register(bench)
    app.add_typer(bench, name="bench")


def _runs(context: typer.Context) -> Runs:
    from .runs import Runs

    config = context.obj
    assert isinstance(config, PanelConfig)
    return Runs(config)


def _teller(*, as_json: bool) -> Callable[[str], None]:
    return (lambda text: None) if as_json else (lambda text: typer.echo(text, err=True))


def _show(line: dict[str, int | float], problems: list[str], *, as_json: bool) -> None:
    for problem in problems:
        typer.echo(problem, err=True)
    if as_json:
        typer.echo(json.dumps(line))
        return
    width = max(map(len, line))
    for name, value in line.items():
        typer.echo(f"{name:<{width}}  {value}")


@bench.command("faults")
def faults(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=5, max=86400, help="How long there is load.")] = 60.0,
    clients: Annotated[int, typer.Option(min=1, max=1024, help="Clients at once.")] = 12,
    seed: SeedOption = 0,
    model: Annotated[
        str, typer.Option(help="A folder, a .gguf file, a catalogue name or a Hub id; empty: the topology's own.")
    ] = "",
    transport: TransportOption = "mooncake_tcp",
    topology: Annotated[
        str, typer.Option(metavar="NAME", help="pair, groups, experts-..., elastic-..., encoders...")
    ] = "pair",
    ranks: Annotated[str, typer.Option(metavar="P-D", help="Ranks of a pair's prefill and decode workers.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Kill and stop workers at random under load, and check that every request ends once and rightly.

    Starts two workers of each role; of workers with several ranks, any rank may die. Topologies: pair (prefill and
    decode), groups (attention groups), experts-gloo and experts-mooncake (on two ranks), elastic-gloo and
    elastic-mooncake (unified, going on without a rank), elastic-pair (the same for pairs), encoders and
    encoders-mooncake (images). Exits with 1 when a request has no end or several, a token is wrong, a page, a room or a
    process is left, or a page is written after it was free.
    """
    from .bench.faults import FaultPlan, measure_faults
    from .bench.topology import topology_of

    chosen = topology_of(topology, ranks)
    plan = FaultPlan(seconds, clients, seed=seed, model=model, transport=transport, topology=chosen)
    with ended_by_sigterm_too():
        tally = measure_faults(_runs(context), plan, _teller(as_json=as_json))
    _show(tally.line(), tally.problems, as_json=as_json)
    raise typer.Exit(0 if tally.ok else 1)


@bench.command("clients")
def clients(
    context: typer.Context,
    clients: Annotated[int, typer.Option(min=1, max=4096, help="Clients of the crowd, all at once.")] = 1024,
    few: Annotated[int, typer.Option(min=1, max=1024, help="Clients that it is compared with.")] = 32,
    requests: Annotated[int, typer.Option(min=1, help="Requests of the few, in each round.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds of each, in turns.")] = 3,
    queue: Annotated[int | None, typer.Option(min=1, help="Requests that may wait at a worker.")] = None,
    model: ModelOption = "smollm2-135m-instruct",
    transport: TransportOption = "mooncake_tcp",
    as_json: JsonOption = False,
) -> None:
    """Compare the speed under a crowd of streaming clients with that under a few, and check every answer.

    Starts a prefill and a decode worker. Exits with 1 when a client is dropped, hangs or is told a wrong token, or when
    the crowd gets less than 0.9 of the answers per second.
    """
    from .bench.clients import ClientsPlan, measure_clients

    plan = ClientsPlan(clients, few, requests, rounds, queue, model, transport)
    with ended_by_sigterm_too():
        result = measure_clients(_runs(context), plan, _teller(as_json=as_json))
    _show(result.line(), result.problems, as_json=as_json)
    raise typer.Exit(0 if result.ok else 1)


@bench.command("panel")
def panel(
    tabs: Annotated[int, typer.Option(min=1, max=200, help="Open tabs.")] = 20,
    processes: Annotated[int, typer.Option(min=3, max=200, help="Processes of the made-up run.")] = 32,
    nics: Annotated[int, typer.Option(min=1, max=64, help="NICs of its host.")] = 16,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="Of each stretch that is measured.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Stretches of each figure.")] = 3,
    chromium_tabs: Annotated[int, typer.Option(min=1, max=200, help="How many of the tabs are real ones.")] = 20,
    short: Annotated[bool, typer.Option("--short", help="One short stretch of each, one tab in Chromium.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each figure, and no more.")] = False,
) -> None:
    """Measure what the panel costs while people keep it open: its server, its pages in Chromium, an idle runner.

    The run that it shows is made up. Without Playwright and Chromium only the server is measured.
    """
    from .bench.panel import PanelPlan, measure_panel

    plan = PanelPlan(tabs, processes, nics, seconds, rounds, chromium_tabs)
    if short:
        plan = PanelPlan(tabs, processes, nics, min(seconds, 1.0), 1, 1)
    with ended_by_sigterm_too():
        for figure in measure_panel(plan, _teller(as_json=as_json)):
            typer.echo(json.dumps(figure.line("panel")) if as_json else figure.text())


@bench.command("verdict")
def verdict(
    context: typer.Context,
    case: Annotated[list[str] | None, typer.Option(help="The name of an arrangement; again for more. [all]")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Of each stretch that is measured.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Stretches of each relief.")] = 1,
    seed: SeedOption = 0,
    model: Annotated[str, typer.Option(help="What the runs serve; a small one of random weights.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each case, and no more.")] = False,
) -> None:
    """Arrange bottlenecks, and compare the panel's verdict on each with what a measured ablation shows.

    Takes about a minute for each. Exits with 1 when the verdict agrees in fewer than 9 of 10.
    """
    from .bench.bottlenecks import BottlenecksPlan, BottlenecksResult, measure_bottlenecks

    plan = BottlenecksPlan(tuple(case or ()), stretch_s=seconds, rounds=rounds, model=model, seed=seed)
    result = BottlenecksResult()
    with ended_by_sigterm_too():
        for one in measure_bottlenecks(_runs(context), plan, _teller(as_json=as_json)):
            result.cases.append(one)
            typer.echo(json.dumps(one.line()) if as_json else one.text())
    line = result.line()
    typer.echo(json.dumps(line) if as_json else f"The verdict agrees in {line['agree']} of {line['total']} cases.")
    raise typer.Exit(0 if result.ok else 1)
