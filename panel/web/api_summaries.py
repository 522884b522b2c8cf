"""One sentence for each route of the REST API, by method and path; a route's own docstring wins over it.

Data alone. A test fails for a route that has neither.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SUMMARIES"]

SUMMARIES: Mapping[str, str] = {
    "GET /api/runs": "List the runs, newest first, with their processes.",
    "POST /api/runs": "Start a run from a few choices; answers before its processes are ready.",
    "POST /api/runs/{run_id}/stop": "Stop a run; answers when its processes have ended.",
    "POST /api/runs/{run_id}/processes/{name}/{action}": "Stop or restart one process of a run.",
    "POST /api/runs/{run_id}/{action}": "Restart, resume or adopt a run.",
    "GET /api/runs/{run_id}/samples": "Read the samples of a run after a number, and where to go on.",
    "GET /api/runs/{run_id}/range": "Read the samples of a run between two points in time, as many as asked for.",
    "GET /api/runs/{run_id}/deployment": "Read the deployment that a run was started from, as YAML.",
    "GET /api/runs/{run_id}/explained": "Read what the doctor's rules say about the run's processes.",
    "POST /api/runs/{run_id}/proof": "Begin a proof of transport: test requests, and counters before and after.",
    "GET /api/runs/{run_id}/proof": "Read the last proof of transport of a run.",
    "GET /api/runs/{run_id}/verdict": "Say what limits a run now, with the evidence and what to try.",
    "GET /api/runs/{run_id}/report": "List what a report of a run would hold.",
    "POST /api/runs/{run_id}/report": "Download a redacted report of a run as a zip file.",
    "POST /api/runs/{run_id}/try": "Send one prompt to a run's router; the answer streams as JSON lines.",
    "GET /api/runs/{run_id}/logs/{name}/rows": "Read lines of a process's log from a place in it.",
    "GET /api/runs/{run_id}/logs/{name}/search": "Search in a process's log.",
    "GET /api/runs/{run_id}/logs/{name}/time": "Find the place in a process's log for a point in time.",
    "GET /api/runs/{run_id}/logs/{name}/file": "Download a process's log.",
    "GET /api/history": "List ended runs with their duration and peak figures.",
    "POST /api/history/remove": "Remove ended runs from the history.",
    "GET /api/prune": "Say what a clean-up would free.",
    "POST /api/prune": "Remove old runs, logs and samples.",
    "POST /api/attach": "Watch a deployment that the panel did not start.",
    "POST /api/deploy/check": "Check a deployment before it is started, and say what will go wrong.",
    "GET /api/hardware": "Describe the GPUs, NICs and paths of this host.",
    "POST /api/hardware/inspect": "Describe the host in a dump or topology file, sent as the body.",
    "GET /api/loads": "List the load tests.",
    "POST /api/loads": "Start a load test on a run.",
    "GET /api/loads/abilities": "Say which load tests and evaluations this installation can do.",
    "POST /api/loads/accuracy": "Start an accuracy test on a run.",
    "POST /api/loads/commands": "Write the same load test as commands of SGLang and vLLM.",
    "POST /api/loads/import": "Take in the results of a load test, sent as the body.",
    "GET /api/loads/export": "Download results of load tests.",
    "GET /api/loads/{load_id}": "Read one load test with its figures.",
    "POST /api/loads/{load_id}/stop": "Stop a load test.",
    "POST /api/loads/{load_id}/remove": "Remove a load test that has ended.",
    "GET /api/plan/form": "Describe the fields of a deployment.",
    "GET /api/plan/starts": "List the presets that a plan can begin with.",
    "POST /api/plan/start-text": "Read a preset as the YAML of a deployment.",
    "POST /api/plan/preview": "Plan a deployment: who runs where, with which files and commands.",
    "POST /api/plan/diff": "Compare two deployments, as YAML or as commands.",
    "POST /api/plan/lint": "Check pasted launch commands or configs.",
    "POST /api/plan/import": "Turn pasted launch commands into a deployment.",
    "POST /api/plan/presets": "Save a deployment as a preset of one's own.",
    "GET /api/plan/nics": "List the NICs of this host for the form.",
    "GET /api/plan/formats": "List the formats of an export.",
    "POST /api/plan/export": "Export a deployment as files, in JSON.",
    "POST /api/plan/export.zip": "Export a deployment as a zip file.",
    "POST /api/plan/offer": "Say what a deployment would start here, and what must be agreed to.",
    "POST /api/plan/start": "Start a deployment given as YAML.",
    "GET /api/session": "Say who is signed in.",
    "GET /api/openapi.json": "Read this description as OpenAPI.",
}
