"""The process of an evaluation: prepares lm-eval's files, runs it as a child, and saves the score.

lm-eval runs in a process of its own, so that nothing of it is ever in the panel. SIGTERM ends both. Called by
`load.__main__`, which claimed the job's directory.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...engine.errors import ConfigError, PdpanelError
from ..config import inherited_environment
from ..load.client import open_session
from ..load.job import unfinished_entry
from ..load.jobdir import JobDir
from ..load.server import served_model
from ..load.spec import LoadSpec
from ..load.store import LoadStore
from ..runner.journal import last_meaningful_line
from .questions import questions_jsonl, read_questions
from .task import OFFLINE, TASK, AccuracySpec, command, scores, task_text

__all__ = ["INSTALL", "is_installed", "run_accuracy"]

INSTALL = "pip install 'pdpanel[accuracy]'"
_POLL_S = 0.5
_GRACE_S = 5.0
_DONE = re.compile(r"Requesting API:\s+\d+%\|[^|]*\|\s*(\d+)/(\d+)")
_LOOK = "import importlib.util, sys; sys.exit(importlib.util.find_spec('lm_eval') is None)"


def is_installed(python: str) -> bool:
    """Returns True when that Python has lm-eval."""
    try:
        return subprocess.run([python, "-c", _LOOK], capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def run_accuracy(jobdir: JobDir, job: dict[str, Any], api_key: str) -> None:
    """Runs the job and saves its entry; raises OSError when it cannot be saved."""
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, frame: stopped.append(got))
    began = time.time()
    try:
        columns = _evaluated(jobdir, job, api_key, stopped)
    except PdpanelError as error:
        entry = unfinished_entry(job, "failed", str(error), [])
    else:
        if columns is None:
            entry = unfinished_entry(job, "stopped", "It was stopped before there was a score.", [])
        else:
            columns["duration_s"] = round(time.time() - began, 1)
            entry = unfinished_entry(job, "finished", "", []) | {"columns": columns, "notes": []}
    LoadStore(jobdir.store_folder).save(entry)


def _evaluated(jobdir: JobDir, job: dict[str, Any], api_key: str, stopped: list[int]) -> dict[str, Any] | None:
    spec = msgspec.convert(job["spec"], AccuracySpec)
    jobdir.tell({"phase": "preparing"})
    questions = read_questions(Path(spec.questions))[: spec.limit]
    if not is_installed(job["python"]):
        raise ConfigError("accuracy", "lm-eval", "is not installed", f"run {INSTALL}")
    model = asyncio.run(_model(spec, api_key))
    folder = jobdir.path / "evaluation"
    folder.mkdir(mode=0o700)
    (folder / "questions.jsonl").write_text(questions_jsonl(questions), "utf-8")
    (folder / f"{TASK}.yaml").write_text(task_text(folder / "questions.jsonl", spec.shots, spec.max_tokens), "utf-8")
    code = _run(jobdir, command(job["python"], spec, model, folder), folder, api_key, stopped, len(questions))
    if stopped:
        return None
    found = next(iter((folder / "out").rglob("results_*.json")), None)
    columns = None
    if found is not None:
        try:
            columns = scores(json.loads(found.read_bytes()))
        except ValueError:
            columns = None
    if columns is None:
        said = last_meaningful_line(jobdir.log) or "it said nothing"
        raise PdpanelError(f"lm-eval ended with code {code} and without a score: {said}")
    return columns


async def _model(spec: AccuracySpec, api_key: str) -> str:
    async with open_session(api_key) as session:
        return await served_model(session, LoadSpec(url=spec.url, model=spec.model))


def _run(jobdir: JobDir, argv: Sequence[str], folder: Path, api_key: str, stopped: list[int], questions: int) -> int:
    """Runs lm-eval to its end or until it shall stop, and returns its exit code; its output goes to the job's log."""
    own = {name: str(folder / name.lower()) for name in ("HF_HOME", "HF_DATASETS_CACHE")}
    environment = inherited_environment() | dict(OFFLINE) | own | {"OPENAI_API_KEY": api_key or "none"}
    with jobdir.log.open("ab") as log:
        child = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment, process_group=0
        )
    shown = -1
    while True:
        try:
            return child.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            pass
        if stopped:
            _end(child)
            return child.wait()
        done = _done(jobdir.log)
        if done != shown:
            shown = done
            jobdir.tell({"phase": "evaluating", "done": done, "total": questions})


def _end(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            pass
        return


def _done(log: Path) -> int:
    """Returns how many questions are answered, by the last progress that lm-eval wrote."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return 0
    found = _DONE.findall(text)
    return int(found[-1][0]) if found else 0
