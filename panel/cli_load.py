"""`pdpanel load URL`: the load generator on the command line, with the progress on one line and a table at the end.

A thin shell around `panel.load`: `panel.cli` calls `register`. Ctrl-C ends the load and prints what was measured.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.errors import ConfigError
from .config import PanelConfig

if TYPE_CHECKING:
    from .load.result import LoadResult, Progress
    from .load.spec import LoadSpec

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("load")(load)


def load(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(metavar="URL", show_default=False, help="Of the router or server, http://HOST:PORT.")
    ],
    rate: Annotated[float | None, typer.Option(metavar="R", help="Requests/s, by Poisson arrivals.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Requests at once; with --rate the most.")
    ] = None,
    constant: Annotated[bool, typer.Option("--constant", help="With --rate: equal gaps instead of Poisson's.")] = False,
    burst: Annotated[bool, typer.Option("--burst", help="Send all requests at once.")] = False,
    requests: Annotated[int | None, typer.Option(metavar="N", help="End after so many requests. [default: 64]")] = None,
    duration: Annotated[float | None, typer.Option(metavar="S", help="Send requests for so many seconds.")] = None,
    warmup: Annotated[int, typer.Option(metavar="N", help="Requests before, which are not counted.")] = 1,
    input_length: Annotated[
        str, typer.Option("--input", metavar="LEN", help="Tokens of a prompt: 1024, 512-1024, or 1024~256 (mean~sd).")
    ] = "128",
    output_length: Annotated[
        str, typer.Option("--output", metavar="LEN", help="Tokens of an answer, written likewise.")
    ] = "64",
    prompts: Annotated[
        str, typer.Option(metavar="FILE", help="Prompts of ShareGPT's JSON, JSONL, or a text with one a line.")
    ] = "",
    route: Annotated[str, typer.Option(help="completions, chat or generate.")] = "completions",
    model: Annotated[str, typer.Option(help="The model's name.  [default: the server's first]")] = "",
    seed: Annotated[int, typer.Option(help="Of arrivals, lengths and prompts.")] = 0,
    temperature: Annotated[float, typer.Option(help="Of sampling; 0 is greedy.")] = 0.0,
    until_eos: Annotated[bool, typer.Option("--until-eos", help="Let answers end by themselves.")] = False,
    slo_ttft: Annotated[float | None, typer.Option(metavar="MS", help="Most time to the first token.")] = None,
    slo_itl: Annotated[float | None, typer.Option(metavar="MS", help="Most mean time between tokens.")] = None,
    timeout: Annotated[float, typer.Option(metavar="S", help="Who has no end after this has failed.")] = 600.0,
    api_key: Annotated[str, typer.Option(metavar="KEY", help="The server's key; it is kept nowhere.")] = "",
    name: Annotated[str, typer.Option(help="What the saved result is called.")] = "",
    save: Annotated[bool, typer.Option("--save", help="Keep the result, for the panel's Benchmark tab.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and no progress.")] = False,
) -> None:
    """Put a load on a server and measure it: any OpenAI-compatible URL.

    Without --rate and --burst as many requests are under way as --concurrency says. Exits with 1 when no request
    succeeded.
    """
    from .load.spec import Arrival, LoadSpec, Route, checked

    if route not in list(Route):
        raise ConfigError("--route", route, "is no route", f"choose of: {', '.join(Route)}")
    if (burst and (rate is not None or constant)) or (constant and rate is None):
        field, problem = ("--burst", "does not go with a rate") if burst else ("--constant", "has no --rate")
        raise ConfigError(field, True, problem, "choose one kind of arrival")
    arrival = Arrival.BURST if burst else Arrival.CONCURRENCY
    if rate is not None:
        arrival = Arrival.CONSTANT if constant else Arrival.POISSON
    spec = checked(
        LoadSpec(
            url=url,
            model=model,
            route=Route(route),
            arrival=arrival,
            rate=rate,
            concurrency=concurrency,
            requests=requests,
            duration_s=duration,
            warmup=warmup,
            input=input_length,
            output=output_length,
            prompts=prompts,
            seed=seed,
            temperature=temperature,
            ignore_eos=not until_eos,
            slo_ttft_ms=slo_ttft,
            slo_itl_ms=slo_itl,
            timeout_s=timeout,
        )
    )
    import asyncio  # only here: it would cost every command

    line = _Line(quiet=as_json or not sys.stderr.isatty())
    result = asyncio.run(_measure(spec, api_key, line))
    line.clear()
    kept = _keep(context, spec, result, line.rows, name) if save else ""
    _print(spec, result, kept, as_json=as_json)
    raise typer.Exit(0 if result.completed else 1)


async def _measure(spec: LoadSpec, api_key: str, line: _Line) -> LoadResult:
    import asyncio

    from .load.client import allow_connections, open_session
    from .load.driver import measure
    from .load.server import learn

    allow_connections(spec.concurrency or spec.requests or 1024)
    stop = asyncio.Event()
    async with open_session(api_key) as session:
        # Before there is anything to show, Ctrl-C ends the command as usual.
        served = await learn(session, spec)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return await measure(session, spec, served, stop, line.show)


def _keep(context: typer.Context, spec: LoadSpec, result: LoadResult, rows: list[list[float | None]], name: str) -> str:
    from .load.store import LoadStore, load_entry, new_load_id

    config = context.obj
    assert isinstance(config, PanelConfig)
    store = LoadStore(config.state_dir / "loads")
    entry = load_entry(new_load_id(result.started_at), spec, result, rows, name=name)
    store.save(entry)
    return entry["id"]


def _print(spec: LoadSpec, result: LoadResult, kept: str, *, as_json: bool) -> None:
    from .load.export import plain_numbers
    from .load.result import columns_of
    from .load.result_text import result_text

    if as_json:
        errors = [{"kind": one.kind, "count": one.count, "text": one.text} for one in result.errors]
        document: dict[str, Any] = {
            "url": spec.url,
            "model": result.model,
            "prompts": result.prompts_from,
            "ended": result.ended,
            "id": kept or None,
            **plain_numbers(columns_of(result)),
            "cut": result.cut,
            "errors": errors,
            "notes": list(result.notes),
        }
        typer.echo(json.dumps(document))
        return
    typer.echo(result_text(spec, result), nl=False)
    if kept:
        typer.echo(f"saved as {kept}")


class _Line:
    """The progress on one line of a terminal, written over and over; `rows` keeps what was told."""

    def __init__(self, *, quiet: bool) -> None:
        self.rows: list[list[float | None]] = []
        self._quiet = quiet
        self._width = 0

    def show(self, progress: Progress) -> None:
        """Writes the newest numbers."""
        self.rows.append(progress.row())
        if self._quiet:
            return
        from .load.result_text import progress_text

        text = progress_text(progress)
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

    def clear(self) -> None:
        """Leaves the line empty for what follows."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
