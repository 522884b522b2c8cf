"""A LaunchPlan as the JSON of `pdpanel render`: files, variables, commands and findings, which others may read.

Pure. The form is an interface and stays: `{"files": {"<node>:<name>": ...}, "env": {...}, "commands": [...],
"findings": [...], "programs": {...}}`. A file that is the same everywhere has the key `both:<name>`, and one of a
deployment that names no hosts has its bare name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from .doctor_text import finding_json
from .launch import LaunchPlan, PlannedFile, ProcessSpec

__all__ = ["Json", "file_key", "render"]

Json = dict[str, object]


def render(plan: LaunchPlan) -> Json:
    """Returns the plan as JSON values.

    Keys: files (configurations, parsed when they are JSON), programs (texts that commands run), env (of every
    command), commands (role, argv, env beside the common one, and node, cwd, targets where there are any) and findings.
    """
    commands = [_command(spec, plan) for spec in plan.processes]
    commands += [{"role": "smoke-test", "argv": list(each.argv), **_node(each.node)} for each in plan.requests]
    return {
        "files": _files(file for file in plan.files if not file.program),
        "env": dict(plan.env),
        "commands": commands,
        "findings": [finding_json(finding) for finding in plan.findings],
        "programs": _files(file for file in plan.files if file.program),
    }


def file_key(file: PlannedFile) -> str:
    """Returns the key of a file: its node and path, `both` for the node of one that all nodes share."""
    node = "both" if file.shared else file.node
    return f"{node}:{file.path}" if node else file.path


def _files(files: Iterable[PlannedFile]) -> Json:
    return {file_key(file): json.loads(file.text) if file.path.endswith(".json") else file.text for file in files}


def _command(spec: ProcessSpec, plan: LaunchPlan) -> Json:
    own = {name: value for name, value in spec.env.items() if plan.env.get(name) != value}
    command: Json = {
        "role": spec.role.value,
        "name": spec.name,
        **_node(spec.node),
        "argv": list(spec.argv),
        "env": own,
    }
    if spec.cwd:
        command["cwd"] = spec.cwd
    if spec.targets:
        command["targets"] = dict(spec.targets)
    return command


def _node(node: str) -> Json:
    return {"node": node} if node else {}
