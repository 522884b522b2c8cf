from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.deployment_parts import RoleSpec, WorkerSpec
from pdpanel.panel.dialects.dialect import Dialect
from pdpanel.panel.dialects.registry import DIALECTS
from pdpanel.panel.planning.fields import check_fields, fields_of, set_fields
from pdpanel.panel.web.plan_form import FormField, attributes_help, form_document, form_fields, knows
from pdpanel.panel.web.plan_lines import from_shown
from pdpanel.panel.web.plan_yaml import changed_fields
from pydantic import BaseModel

FIELDS = {field.path: field for field in form_fields()}
# Set by the form in other ways, or by nobody.
NOT_IN_THE_FORM = {"version"}
EXAMPLES = {
    "text": "x",
    "long": "x",
    "int": "2",
    "number": "0.5",
    "maybe": "yes",
    "words": "a b",
    "lines": "a",
    "ints": "0 1",
    "env": "A=b",
    "flags": "x-flag 3",
    "nics": {"mode": "affinity", "text": ""},
    "band": "20000-20100",
}
SPECIAL = {
    "engine_version": "0.5.23",
    "host": "10.0.0.1",
    "hosts": "a gpus=8",
    "metadata.node": "a",
    "router.node": "a",
    "router.host": "0.0.0.0",
    "router.policy": "random",
    "slurm.nodes": "node1",
}


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        part = next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if part is not None and name != "hosts":
            yield from leaves(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_field_of_a_deployment_is_in_the_form() -> None:
    assert {path for path in leaves(Deployment) if path not in FIELDS} == NOT_IN_THE_FORM
    assert set(FIELDS) - set(leaves(Deployment)) == {"store"}


def test_labels_and_help_are_for_people() -> None:
    for field in FIELDS.values():
        assert field.label
        assert field.label[0].isupper()
        assert "None" not in field.help
        assert "_" not in field.label
    without = {path for path, field in FIELDS.items() if not field.help}
    assert len(without) < 12, without
    assert FIELDS["nixl.backend"].label == "NIXL backend"
    assert FIELDS["ascend.store_url"].label == "Ascend store URL"
    assert FIELDS["workers.tp"].help == "Tensor parallel size."
    assert FIELDS["prefill.tp"].help == "Tensor parallel size."
    assert FIELDS["prefill.nics"].help == FIELDS["nics"].help


def test_help_of_a_base_counts_for_what_inherits() -> None:
    assert attributes_help(RoleSpec)["tp"] == attributes_help(WorkerSpec)["tp"]
    assert "node[1-8]" in attributes_help(RoleSpec)["hosts"]


def test_kinds() -> None:
    kinds = {path: field.kind for path, field in FIELDS.items()}
    assert kinds["engine"] == kinds["transport"] == kinds["router.kind"] == "choice"
    assert kinds["prefill.hosts"] == "words"
    assert kinds["hosts"] == "hosts"
    assert kinds["nics"] == kinds["decode.nics"] == "nics"
    assert kinds["workers.dp_attention"] == "maybe"
    assert kinds["observe"] == "bool"
    assert kinds["run.args"] == "lines"
    assert kinds["prefill.gpus"] == "ints"
    assert kinds["prefill.flags"] == kinds["store.flags"] == "flags"
    assert kinds["rpc_ports"] == "band"
    assert FIELDS["observe"].default is True
    assert FIELDS["transport"].default == "mooncake"
    assert FIELDS["model"].default is None
    assert FIELDS["prefill.tp"].own
    assert not FIELDS["prefill.count"].own


def example(field: FormField) -> Any:
    """What a control of this field could hold that differs from its default."""
    if field.path in SPECIAL:
        return SPECIAL[field.path]
    if field.kind == "bool":
        return field.default is not True
    if field.kind == "choice":
        return next(choice for choice in field.choices if choice != field.default)
    return EXAMPLES[field.kind]


def deployments(field: FormField) -> Iterator[Deployment]:
    """Deployments that set this one field."""
    path = field.path.split(".")
    base: dict[str, Any] = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}
    if path[0] == "unified":
        base = {"model": "m", "unified": {"count": 1}}
    if path[0] == "metadata":
        base["metadata"] = {"server": "etcd://127.0.0.1:2379"}
    value = {"a": {"gpus": 8}} if field.path == "hosts" else from_shown(field.kind, example(field), field.default)
    try:
        yield parse_deployment(changed_fields(base, path, value))
    except ConfigError as error:
        pytest.fail(f"{field.path}: {error}")


SKIPPED = {"engine", "dialect", "transport", "router.kind", "name", "model", "store"}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_the_form_shows_exactly_what_the_planner_takes(dialect: Dialect) -> None:
    """What the form shows can be set, and what it hides would be refused."""
    for path, field in FIELDS.items():
        if path in SKIPPED:
            continue
        for deployment in deployments(field):
            assert any(one == path or one.startswith(f"{path}.") for one in set_fields(deployment)), path
            role = path.partition(".")[0]
            if role in ("unified", "encoder") and f"{role}.count" not in fields_of(dialect):
                assert not knows(dialect, path), path
                continue
            # Of what a test has to set beside the field, nothing is judged here.
            metadata = deployment.metadata if role == "metadata" else None
            alone = Deployment.model_construct(**{**deployment.__dict__, "metadata": metadata})
            try:
                check_fields(alone, dialect, DIALECTS)
                refused = ""
            except ConfigError as error:
                refused = error.field if error.problem.startswith("means nothing to the dialect") else ""
            if role == "metadata" and refused == "metadata.server":
                refused = path
            assert knows(dialect, path) == (refused != path), (path, refused)


def test_document_is_plain_and_names_every_dialect() -> None:
    document = form_document(DIALECTS)
    assert [one["name"] for one in document["dialects"]] == list(DIALECTS)
    sections = {one["id"] for one in document["sections"]}
    assert {one["section"] for one in document["fields"]} <= sections
    bundled = next(one for one in document["dialects"] if one["name"] == "bundled")
    assert "prefill.count" in bundled["fields"]
    assert "workers.pp" not in bundled["fields"]


def test_how_a_role_is_run_is_in_the_form_of_every_dialect() -> None:
    fields = {field.path: field for field in form_fields()}
    assert {"prefill.run.python", "decode.run.image", "router.run.venv", "workers.run.args"} <= set(fields)
    assert fields["prefill.run.python"].own and not fields["router.run.venv"].own
    assert not any(field.kind == "part" and "." in path for path, field in fields.items())
    for dialect in DIALECTS.values():
        assert knows(dialect, "prefill.run.python") and knows(dialect, "router.run.image")
        assert not knows(dialect, "prefill.nothing.python")
