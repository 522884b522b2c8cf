"""The step before the workers: fetch and convert the model, once, with its progress as the run's notice.

Runs the plan's Preparation as a child of its own and reads the JSON lines {"stage", "done", "total"} that it
writes to its log. A marker in the state folder says that this was done before, so that a later start costs
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ...engine.errors import ConfigError
from ..launch import Preparation
from ..rundir import RunDir
from .child import Child, Started, describe_exit
from .journal import clean_line
from .state import MODEL_STEP

__all__ = ["is_prepared", "mark_prepared", "prepare"]

_POLL_S = 0.1
_MEGA = 1_000_000
_STAGES = {
    "download": "fetching",
    "unpack": "unpacking",
    "wait": "waiting for another process to prepare",
    "hash": "checking",
    "read": "reading",
    "convert": "converting",
    "write": "writing",
}


class _Progress(msgspec.Struct):
    stage: str
    done: float = 0
    total: float | None = None


_DECODER = msgspec.json.Decoder(_Progress)


def is_prepared(step: Preparation, rundir: RunDir) -> bool:
    """Returns True if the step was done before and its results should still be there."""
    return (rundir.markers / step.marker).is_file() and Path(step.cache_dir).is_dir()


def mark_prepared(step: Preparation, rundir: RunDir) -> None:
    """Remembers that the step was done."""
    rundir.markers.mkdir(mode=0o700, parents=True, exist_ok=True)
    rundir.write(rundir.markers / step.marker, step.argv[-1].encode("utf-8", errors="replace"))


async def prepare(
    step: Preparation,
    model: str,
    rundir: RunDir,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    running: Started | None = None,
    on_start: Callable[[Started], None] = lambda child: None,
) -> str:
    """Runs the step to its end and returns what went wrong in one sentence, empty when nothing did.

    Args:
        step: what to run.
        model: the model's name, for people.
        rundir: the run; the step's log is `model.log` there.
        environment: what the step's own variables are added to.
        tell: takes each new notice, such as "fetching SmolLM2-135M-Instruct 45 of 93 MB".
        running: the step as an earlier runner has started it. How that ends nobody can know, so the step is run again
            then: it finds what is there and does the rest.
        on_start: takes each process of the step.
    """
    log = rundir.logs / f"{MODEL_STEP}.log"
    name = clean_line(model.rstrip("/").rpartition("/")[2] or model)
    tell(f"preparing {name}")
    if running is not None:
        await _follow(running, log, 0, name, tell)
    offset = log.stat().st_size if log.exists() else 0
    try:
        child = Child.start(step.argv, {**environment, **step.env}, step.cwd, log)
    except ConfigError as error:
        return str(error)
    on_start(child)
    said = await _follow(child, log, offset, name, tell)
    code = child.ended.result()
    if code == 0:
        mark_prepared(step, rundir)
        return ""
    return said or f"Preparing {name} failed: {describe_exit(code)}."


async def _follow(child: Started, log: Path, offset: int, name: str, tell: Callable[[str], None]) -> str:
    """Tells what the step logs until it ends; returns its last line that is for people."""
    said = ""
    while True:
        ended = child.ended.done()
        lines, offset = _new_lines(log, offset, last=ended)
        for line in lines:
            try:
                tell(_sentence(_DECODER.decode(line), name))
            except msgspec.MsgspecError:
                # Results and errors come as JSON too; for people there is the sentence on standard error.
                if not line.startswith(b"{"):
                    said = clean_line(line.decode("utf-8", errors="replace")) or said
        if ended:
            return said
        await asyncio.wait({child.ended}, timeout=_POLL_S)


def _new_lines(path: Path, offset: int, *, last: bool) -> tuple[list[bytes], int]:
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    end = len(data) if last else data.rfind(b"\n") + 1
    return data[:end].splitlines(), offset + end


def _sentence(progress: _Progress, name: str) -> str:
    stage = _STAGES.get(progress.stage) or clean_line(progress.stage) or "preparing"
    if not progress.total:
        return f"{stage} {name}"
    if progress.total >= _MEGA:
        return f"{stage} {name} {progress.done / _MEGA:.0f} of {progress.total / _MEGA:.0f} MB"
    return f"{stage} {name} {progress.done:.0f} of {progress.total:.0f}"
