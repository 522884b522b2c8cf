"""What the Plan tab asks for with every keystroke: the text changed by the form, and what the plan of it is.

It opens no file, also none that a deployment names, and knows of no host but what the text says.
Called by `plan_routes`; the values are JSON for `static/plan-*.js`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import CapacityError, ConfigError, describe_value
from ..deployment import Deployment, parse_deployment
from ..dialects.registry import DIALECTS, dialect_of
from ..doctor_text import finding_json
from ..host_facts import elsewhere
from ..launch import LaunchPlan
from ..plan import plan
from ..planning.fields import set_fields
from ..planning.read_nodes import read_nodes
from ..ranks import planned_ranks
from .plan_form import FormField, knows
from .plan_lines import REMOVED, from_shown, read_host_lines, to_shown
from .plan_shell import nodes_of
from .plan_yaml import Document, change, read_document, read_fields

__all__ = ["Edit", "plan_of_text", "preview", "refuse_dumps"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the form: the field's path and what its control holds now."""

    path: str
    shown: object


def preview(text: str, edits: Sequence[Edit], fields: Mapping[str, FormField]) -> dict[str, Any]:
    """Returns what the page shows of a deployment file after the form's edits.

    Args:
        text: the YAML as it stands in the page.
        edits: what the form changed since.
        fields: the form's fields by path.

    Returns:
        text with the edits; values, what the controls show of fields that are set, or None when the text cannot be
        read; dialect, that is meant; foreign, set fields that it does not know; error, or None; and, without an
        error, nodes, findings, addresses, hosts, requests and what the plan says of itself.
    """
    answer: dict[str, Any] = {"text": text, "values": None, "dialect": None, "foreign": [], "error": None}
    try:
        document = read_document(text)
        for edit in edits:
            document = _edited(document, edit, fields)
        values = document.fields
        answer |= {"text": document.text, "values": _shown_values(values, fields)}
        answer["dialect"] = _named_dialect(values)
        deployment = parse_deployment(values)
        dialect = dialect_of(deployment)
        answer["dialect"] = dialect.name
        answer["foreign"] = [path for path in set_fields(deployment) if not knows(dialect, path)]
        made = _plan(deployment)
    except ConfigError as error:
        return answer | {"error": _error(error)}
    except CapacityError as error:
        return answer | {"error": {"field": "", "value": "", "problem": "", "remedy": "", "text": str(error)}}
    return answer | _planned(made, deployment, fields)


def plan_of_text(text: str) -> tuple[Deployment, LaunchPlan]:
    """Returns the deployment in `text`, and its plan for the hosts that it names.

    Raises:
        ConfigError: the text or a field cannot be used.
        CapacityError: no port of a band is free.
    """
    deployment = parse_deployment(read_fields(text))
    return deployment, _plan(deployment)


def _edited(document: Document, edit: Edit, fields: Mapping[str, FormField]) -> Document:
    field = fields.get(edit.path)
    path = edit.path.split(".")
    if field is None:
        # A field that the form does not have can only be taken out, such as one that another dialect left behind.
        if edit.shown == "" and edit.path:
            return change(document, path, None, remove=True)
        raise ConfigError("field", edit.path, "is not in the form", "write it in the YAML")
    metadata = document.fields.get("metadata")
    if len(path) == 2 and path[0] == "metadata" and isinstance(metadata, str):
        # The text of the server may stand for the whole part; a further field needs the mapping.
        document = change(document, ["metadata"], {"server": metadata})
    if field.kind == "part":
        return change(document, path, {}, remove=edit.shown is not True)
    if field.kind == "hosts":
        value = read_host_lines(str(edit.shown), document.fields.get("hosts")) or REMOVED
    else:
        value = from_shown(field.kind, edit.shown, field.default)
    return change(document, path, None if value is REMOVED else value, remove=value is REMOVED)


def _shown_values(values: Mapping[str, Any], fields: Mapping[str, FormField]) -> dict[str, object]:
    shown: dict[str, object] = {}
    for path, field in fields.items():
        head, *rest = path.split(".")
        part = values.get(head, REMOVED)
        if head == "metadata" and isinstance(part, str):
            part = {"server": part}
        if field.kind == "part":
            shown[path] = isinstance(part, Mapping)
            continue
        value: Any = part
        for name in rest:
            value = value.get(name, REMOVED) if isinstance(value, Mapping) else REMOVED
        if value is not REMOVED:
            shown[path] = to_shown(field.kind, value)
    return shown


def _named_dialect(values: Mapping[str, Any]) -> str | None:
    """The dialect that a text which is not yet right seems to mean."""
    name = values.get("dialect") or values.get("engine", "bundled")
    return name if isinstance(name, str) and name in DIALECTS else None


def refuse_dumps(deployment: Deployment) -> None:
    """Raises ConfigError for a deployment that names a dump: what comes through the browser opens no file."""
    for name, host in deployment.hosts.items():
        if host.dump is not None:
            raise ConfigError(
                f"hosts.{name}.dump",
                host.dump,
                "is a file, and the page opens no file that a text names",
                "write gpus= and nics= of the host here, or use pdpanel render on the command line",
            )


def _plan(deployment: Deployment) -> LaunchPlan:
    refuse_dumps(deployment)
    return plan(deployment, elsewhere(), None, read_nodes(deployment, Path()))


def _planned(made: LaunchPlan, deployment: Deployment, fields: Mapping[str, FormField]) -> dict[str, Any]:
    findings = [finding_json(finding) for finding in made.findings]
    for finding in findings:
        finding["field"] = _field_of(finding, fields)
    return {
        "name": deployment.name,
        "model": deployment.model,
        "transport": made.transport,
        "router_url": made.router_url,
        "engine_version": made.engine_version,
        "nodes": nodes_of(made),
        "ranks": planned_ranks(made),
        "findings": findings,
        "hosts": {name: {"gpus": host.gpus, "gpu": host.gpu or ""} for name, host in deployment.hosts.items()},
    }


def _field_of(finding: Mapping[str, Any], fields: Mapping[str, FormField]) -> str:
    """Returns the path of the form's field that a finding is about; empty when it names none."""
    for name in (finding["subject"], *(one["source"] for one in finding["evidence"])):
        for path in (name, name.partition(" ")[0]):
            if path in fields:
                return path
            head = ".".join(path.split(".")[:2])
            if head in fields:
                return head
            if path.partition(".")[0] in fields and "." in path:
                return path.partition(".")[0]
    return ""


def _error(error: ConfigError) -> dict[str, str]:
    # A remark of the planner may name the option beside the field.
    field = error.field.partition(" ")[0]
    return {
        "field": field,
        "value": "" if error.value is None else describe_value(error.value),
        "problem": error.problem,
        "remedy": error.remedy,
        "text": str(error),
    }
