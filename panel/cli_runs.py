"""What the commands up, down, restart, adopt, status and logs do and print.

Each takes the runs and plain arguments; `panel.cli` parses them. Text that comes out of logs is printed
without control sequences.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import typer

from ..engine.errors import ConfigError, PdpanelError
from .deployment import Deployment, dump_deployment, parse_deployment_text
from .doctor_text import finding_json
from .launch import Role
from .news import News
from .rundir import RunDir
from .runner.journal import clean_line, strip_controls, tail_lines
from .runner.lifecycle import FINAL, ProcessState, RunState
from .runs import Runs
from .views import ProcessView, RunView

__all__ = ["adopt", "down", "logs", "one_active", "restart", "resume", "show_plan", "status", "up"]

_NEWS_S = 0.5
_FOLLOW_S = 0.2
_NOTICE_EVERY_S = 1.0
_SHOWN_LOG_LINES = 10
_SHOWN_ENDED_RUNS = 3


def show_plan(runs: Runs, deployment: Deployment) -> None:
    """Prints the deployment as a file, with the commands that it comes to as comments."""
    plan = runs.preview(deployment)
    typer.echo(dump_deployment(deployment), nl=False)
    for spec in plan.processes:
        env = " ".join(f"{key}={shlex.quote(value)}" for key, value in spec.env.items())
        typer.echo(f"\n# {spec.name}\n# {env} \\\n#   {shlex.join(spec.argv)}")


def up(runs: Runs, deployment: Deployment) -> int:
    """Starts `deployment`, prints its progress and returns 0 when it is ready, 1 when it fails."""
    return _until_ready(runs, lambda: runs.start(deployment), deployment.served_model_name)


def resume(runs: Runs, run: str | None) -> int:
    """Starts an ended run again, without a name the latest one, and does what `up` does from then on."""
    views = runs.list()
    ended = [view for view in views if view.state in FINAL]
    if run is None and not ended:
        raise ConfigError("--resume", None, "no run has ended", "start one with `pdpanel up`")
    view = ended[0] if run is None else _find_any(views, run)
    return _until_ready(
        runs, lambda: runs.resume(view.id), parse_deployment_text(runs.deployment_text(view.id)).served_model_name
    )


def restart(runs: Runs, run: str | None, process: str | None) -> int:
    """Stops a run and starts it anew, or one process of it; without a name the only one that is active."""
    view = one_active(runs, run)
    if process is not None:
        runs.restart_process(view.id, process)
        typer.echo(f"{view.id}: {process} starts")
        return 0
    served = parse_deployment_text(runs.deployment_text(view.id)).served_model_name
    return _until_ready(runs, lambda: runs.restart(view.id, _say), served)


def adopt(runs: Runs, run: str | None) -> int:
    """Gives runs that lost their runner a new one: the one that is named, else all of them."""
    if run is not None:
        view = runs.adopt(_find_any(runs.list(), run).id)
        typer.echo(f"{view.id} is {view.state}: {clean_line(view.notice) or 'it has a runner'}")
        return 0
    if not runs.adopt_all(lambda line: typer.echo(clean_line(line))):
        typer.echo("every active run has a runner")
    return 0


def _until_ready(runs: Runs, start: Callable[[], RunView], served_name: str | None) -> int:
    began = time.monotonic()
    view = start()
    typer.echo(f"run {view.id}: {_served(view)}")
    shown, news = _Shown(), News(RunDir(runs.log_path(view.id, "runner").parent).state)
    try:
        while view.state in {RunState.STARTING, RunState.UNSUPERVISED}:
            shown.show(view)
            news.wait(_NEWS_S)
            view = runs.get(view.id) if view.state is RunState.STARTING else runs.adopt(view.id)
    except KeyboardInterrupt:
        typer.echo("interrupted: stopping the run", err=True)
        runs.stop(view.id)
        return 130
    shown.show(view)
    if view.state is not RunState.READY:
        # What its logs say about the ends is there when the run has ended.
        _show_failure(replace(view, processes=runs.stop(view.id).processes))
        return 1
    typer.echo(f"ready in {time.monotonic() - began:.1f} s: {view.router_url}")
    model = served_name or view.model
    body = json.dumps({"model": model, "messages": [_HELLO], "max_tokens": 32})
    typer.echo(
        f"try: curl {view.router_url}/v1/chat/completions -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )
    return 0


def _say(text: str) -> None:
    typer.echo(f"  {clean_line(text)}")


_HELLO = {"role": "user", "content": "Say hello."}


def _served(view: RunView) -> str:
    """Returns the model and, where KV travels, what carries it."""
    travels = any(process.role is Role.PREFILL for process in view.processes)
    return clean_line(view.model) + (f" over {view.transport}" if travels else "")


class _Shown:
    """The lines of `up`: prints what is new about a run, a counting notice once a second at most."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._notice, self._stage, self._notice_at = "", "", 0.0

    def show(self, view: RunView) -> None:
        """Prints what has changed since the last call."""
        for process in view.processes:
            line = f"{process.state:<9} {_staged(process)}".rstrip()
            if self._lines.get(process.name) == line:
                continue
            self._lines[process.name] = line
            if process.state is ProcessState.READY and process.started_at is not None:
                line += f"     after {time.time() - process.started_at:.1f} s"
            if process.state is not ProcessState.PENDING:
                typer.echo(f"  {process.name:<10} {line}")
        notice = clean_line(view.notice)
        # The first two words are the stage and the model; what follows them counts.
        stage = " ".join(notice.split()[:2])
        now = time.monotonic()
        if notice == self._notice or (stage == self._stage and now - self._notice_at < _NOTICE_EVERY_S):
            return
        self._notice, self._stage, self._notice_at = notice, stage, now
        if notice:
            typer.echo(f"  {notice}")


def _show_failure(view: RunView) -> None:
    if view.notice:
        typer.echo(f"{view.id} failed: {clean_line(view.notice)}", err=True)
    for process in view.processes:
        if process.state is not ProcessState.CRASHED:
            continue
        typer.echo(f"{process.name} crashed: {clean_line(process.reason)}", err=True)
        for finding in process.findings:
            typer.echo(f"  {clean_line(f'{finding.id}: {finding.reason} {finding.remedy}')}", err=True)
        for line in tail_lines(Path(process.log), _SHOWN_LOG_LINES):
            typer.echo(f"  {line}", err=True)
        typer.echo(f"  log: {process.log}", err=True)


def _staged(process: ProcessView) -> str:
    share = "" if process.progress is None else f" {process.progress:.0%}"
    return clean_line(process.stage) + share if process.stage else ""


def down(runs: Runs, run: str | None, process: str | None = None, *, every: bool) -> int:
    """Stops a run, one process of it, or all runs, and returns 0 when everything has ended."""
    if process is not None:
        view = one_active(runs, run)
        runs.stop_process(view.id, process)
        typer.echo(f"{view.id}: {process} stops")
        return 0
    active = _active(runs.list())
    if run is not None:
        chosen = [_find(runs.list(), run)]
    elif every or len(active) <= 1:
        chosen = active
    else:
        names = ", ".join(view.id for view in active)
        problem = f"{len(active)} runs are active"
        raise ConfigError("--run", None, problem, f"name one of {names}, or give --all")
    if not chosen:
        typer.echo("no run is active")
    code = 0
    for view in chosen:
        ended = runs.stop(view.id, _say)
        typer.echo(f"{ended.id} {ended.state}")
        if ended.state not in FINAL:
            code = 1
            typer.echo(f"{ended.id}: {clean_line(ended.notice)}", err=True)
    return code


def status(runs: Runs, run: str | None, *, as_json: bool) -> None:
    """Prints the runs: as JSON all of them, for people the active ones and the last few others."""
    views = runs.list()
    if run is not None:
        views = [_find(views, run)]
    if as_json:
        typer.echo(json.dumps({"runs": [_as_json(view) for view in views]}))
        return
    active = _active(views)
    others = [view for view in views if view not in active]
    for view in active if run is None else views:
        typer.echo(f"{view.id}  {view.state}  {view.router_url}  {_served(view)}")
        if view.notice:
            typer.echo(f"  {clean_line(view.notice)}")
        if view.state is RunState.UNSUPERVISED:
            typer.echo(f"  a new runner takes it over: pdpanel adopt --run {view.id}")
        for process in view.processes:
            typer.echo(f"  {_as_line(process)}")
    if run is None:
        if not active:
            typer.echo("no run is active")
        for view in others[:_SHOWN_ENDED_RUNS]:
            typer.echo(f"{view.id}  {view.state}")
        if len(others) > _SHOWN_ENDED_RUNS:
            typer.echo(f"and {len(others) - _SHOWN_ENDED_RUNS} more that have ended")


def logs(runs: Runs, name: str, run: str | None, *, follow: bool) -> None:
    """Prints the log of process `name`; with `follow` until interrupted or the run has ended."""
    views = runs.list()
    if run is None and not views:
        raise PdpanelError("There is no run yet; start one with `pdpanel up`.")
    view = _find(views, run) if run is not None else next(iter(_active(views)), views[0])
    path = runs.log_path(view.id, name)
    for text in _read_log(path, runs if follow else None, view.id):
        sys.stdout.write(strip_controls(text))
        sys.stdout.flush()


def _read_log(path: Path, runs: Runs | None, run_id: str) -> Iterator[str]:
    offset, rest, ended = 0, b"", False
    while True:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(1 << 20)
        except FileNotFoundError:
            data = b""
        offset += len(data)
        # Whole lines only, so that no character and no control sequence is torn apart.
        lines, _, rest = (rest + data).rpartition(b"\n")
        if lines:
            yield lines.decode("utf-8", errors="replace") + "\n"
        if data:
            continue
        if runs is None or ended:
            break
        ended = runs.get(run_id).state in FINAL
        time.sleep(_FOLLOW_S)
    if rest:
        yield rest.decode("utf-8", errors="replace") + "\n"


def _active(views: Sequence[RunView]) -> list[RunView]:
    return [view for view in views if view.state not in FINAL or view.supervised]


def _find_any(views: Sequence[RunView], text: str) -> RunView:
    """Returns the run with that id, or the latest with that name, ended or not."""
    for view in views:
        if text in {view.id, view.name}:
            return view
    return _find(views, text)


def one_active(runs: Runs, run: str | None) -> RunView:
    """Returns the run that is named, without a name the only active one."""
    if run is not None:
        return _find_any(runs.list(), run)
    active = _active(runs.list())
    if len(active) == 1:
        return active[0]
    problem = f"{len(active)} runs are active" if active else "no run is active"
    raise ConfigError("--run", None, problem, "name one that `pdpanel status` shows")


def _find(views: Sequence[RunView], text: str) -> RunView:
    exact = [view for view in views if view.id == text]
    named = [view for view in _active(views) if view.name == text]
    for found in (exact, named):
        if len(found) == 1:
            return found[0]
    problem = "is the name of several runs" if named else "is not a run of this user"
    raise ConfigError("--run", text, problem, "give an id that `pdpanel status` shows")


def _as_json(view: RunView) -> dict[str, object]:
    return {
        "id": view.id,
        "state": view.state,
        "notice": view.notice,
        "supervised": view.supervised,
        "simulated": view.simulated,
        "router_url": view.router_url,
        "processes": [
            {
                "name": item.name,
                "role": item.role,
                "pid": item.pid,
                "port": item.port,
                "state": item.state,
                "restarts": item.restarts,
                "stage": item.stage,
                "progress": item.progress,
                "reason": item.reason,
                "exit_code": item.exit_code,
                "findings": [finding_json(finding) for finding in item.findings],
            }
            for item in view.processes
        ],
        "removed": list(view.removed),
    }


def _about(process: ProcessView) -> str:
    """Returns what a process does, or why it does not; for one that was restarted how often, and why the last time."""
    if process.state is ProcessState.STARTING and process.stage:
        return _staged(process)
    again = {0: "", 1: "restarted once"}.get(process.restarts, f"restarted {process.restarts} times")
    why = process.reason if process.state is not ProcessState.READY or not again else f"last: {process.reason}"
    return "; ".join(part for part in (process.stage, again, why if process.reason else "") if part)


def _as_line(process: ProcessView) -> str:
    pid = "-" if process.pid is None else str(process.pid)
    memory = "" if process.rss_bytes is None else f"{process.rss_bytes / 1e6:.0f} MB"
    cpu = "" if process.cpu_percent is None else f"{process.cpu_percent:.0f} %"
    said = clean_line(_about(process))
    who = f"{process.name:<10} {process.state:<10} pid {pid:<8} port {process.port:<6}"
    return f"{who} {memory:>8} {cpu:>6}  {said}".rstrip()
