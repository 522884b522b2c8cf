from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe import Evidence, Finding, Severity
from pdpanel.panel.dialects.bundled import DIALECT as BUNDLED
from pdpanel.panel.dialects.registry import DIALECTS
from pdpanel.panel.launch import LaunchPlan, PlannedFile, ProcessSpec, Readiness, Request, Role
from pdpanel.panel.web import plan_preview
from pdpanel.panel.web.plan_form import form_fields
from pdpanel.panel.web.plan_preview import Edit, plan_of_text, preview
from pdpanel.panel.web.plan_shell import command_text, nodes_of
from pdpanel.panel.web.plan_starts import default_text

FIELDS = {field.path: field for field in form_fields()}
HOSTILE = "x'; touch /tmp/owned; $(id) \"`\\\n--y"


def ask(text: str, *edits: tuple[str, object]) -> dict[str, Any]:
    return preview(text, [Edit(path, shown) for path, shown in edits], FIELDS)


def command(answer: dict[str, Any], name: str) -> str:
    (text,) = [entry["text"] for node in answer["nodes"] for entry in node["entries"] if entry["name"] == name]
    return text


def test_an_edit_changes_text_values_and_commands() -> None:
    answer = ask(default_text(), ("decode.count", "2"), ("router.port", "9000"))
    assert "decode: {count: 2}" in answer["text"] or "count: 2" in answer["text"]
    assert answer["values"]["decode.count"] == "2"
    assert answer["error"] is None
    assert "--port 9000" in command(answer, "router")
    assert "--port 30002" in command(answer, "decode-1")
    assert answer["router_url"].endswith(":9000")


def test_an_empty_control_removes_its_field() -> None:
    text = ask(default_text(), ("router.port", "9000"))["text"]
    answer = ask(text, ("router.port", ""))
    assert "router" not in answer["text"]
    assert "router.port" not in answer["values"]


def test_a_wrong_value_stays_in_the_form_beside_its_error() -> None:
    answer = ask(default_text(), ("prefill.count", "two"))
    assert answer["values"]["prefill.count"] == "two"
    assert answer["error"] == {
        "field": "prefill.count",
        "value": "'two'",
        "problem": "is not a whole number",
        "remedy": "write a whole number",
        "text": "prefill.count = 'two': is not a whole number; write a whole number.",
    }
    assert "nodes" not in answer


def test_a_text_that_cannot_be_read_leaves_the_values_alone() -> None:
    answer = ask("model: [", ("prefill.count", "2"))
    assert answer["values"] is None
    assert answer["text"] == "model: ["
    assert answer["error"]["field"] == "deployment"


def test_fields_that_the_dialect_does_not_know_are_named_and_can_be_removed() -> None:
    text = "model: m\nprefill: {count: 1, pp: 2}\ndecode: {count: 1, pp: 2}\n"
    answer = ask(text)
    assert answer["dialect"] == "bundled"
    assert answer["foreign"] == ["prefill.pp", "decode.pp"]
    assert answer["error"]["field"] == "prefill.pp"
    cleaned = ask(text, *[(path, "") for path in answer["foreign"]])
    assert cleaned["error"] is None
    assert cleaned["foreign"] == []


def test_a_path_that_the_form_does_not_have_is_refused() -> None:
    assert ask(default_text(), ("__class__", "x"))["error"]["field"] == "field"
    assert "prefill.run" not in ask("model: m\nprefill: {count: 1, run: {venv: /v}}", ("prefill.run", ""))["text"]


def test_the_dialect_follows_the_text_also_while_it_is_wrong() -> None:
    assert ask("engine: sglang\nmodel: m\nprefill: {count: x}")["dialect"] == "sglang"
    assert ask("engine: nonsense\nmodel: m")["dialect"] is None
    answer = ask(default_text(), ("engine", "vllm"))
    assert DIALECTS[answer["dialect"]].engine == "vllm"


def test_a_metadata_server_written_as_text_can_get_more_fields() -> None:
    text = "engine: sglang\nmodel: m\nprefill: {count: 1}\ndecode: {count: 1}\nmetadata: etcd://h:2379\n"
    assert ask(text)["values"]["metadata.server"] == "etcd://h:2379"
    answer = ask(text, ("metadata.start", True))
    assert answer["values"] | {"metadata.start": True, "metadata.server": "etcd://h:2379"} == answer["values"]


def test_a_part_is_there_or_not() -> None:
    answer = ask(default_text(), ("store", True))
    assert answer["values"]["store"] is True
    assert "store: {}" in answer["text"]
    assert "store" not in ask(answer["text"], ("store", False))["text"]


def test_a_dump_that_a_text_names_is_never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_preview, "read_nodes", lambda *_: pytest.fail("a file was looked for"))
    text = "model: m\nprefill: {count: 1}\ndecode: {count: 1}\nhosts: {a: {dump: /etc/passwd}}\n"
    answer = ask(text)
    assert answer["error"]["field"] == "hosts.a.dump"
    assert "opens no file" in answer["error"]["problem"]
    with pytest.raises(ConfigError):
        plan_of_text(text)


@given(st.text(max_size=200), st.sampled_from(sorted(FIELDS)), st.text(max_size=30))
def test_nothing_that_is_typed_raises(text: str, path: str, shown: str) -> None:
    for one in (text, f"model: m\nprefill: {{count: 1}}\n{text}"):
        answer = ask(one, (path, shown))
        assert answer["error"] is None or answer["error"]["text"]


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_every_field_can_be_typed_into(path: str) -> None:
    for shown in ("x", "1", HOSTILE, True, {"mode": "map", "text": "0 x\n: :"}):
        answer = ask(default_text(), (path, shown))
        assert answer["values"] is not None, (path, shown, answer["error"])


def test_commands_are_quoted_so_that_a_shell_reads_the_same_words() -> None:
    told = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['A'], os.environ['B'], os.getcwd()]))"
    words = ["x y", "--model-path", HOSTILE, "--", "-1", "--flag=-v", "", "*", "~"]
    text = command_text([sys.executable, "-c", told, *words], {"A": HOSTILE, "B": ""}, "/usr")
    done = subprocess.run(["bash", "-c", text], capture_output=True, check=True, timeout=20)
    assert json.loads(done.stdout) == [words, HOSTILE, "", "/usr"]
    answer = ask(default_text(), ("model", "a b'$(id)"))
    assert "'a b'\"'\"'$(id)'" in command(answer, "prefill-0")


def _spec(name: str, node: str, role: Role = Role.PREFILL) -> ProcessSpec:
    return ProcessSpec(name, role, node, ("run", "--x", "1"), {}, "", {"http": 1}, Readiness("", 1.0), f"{name}.log")


def test_nodes_hold_their_commands_files_and_tests() -> None:
    plan = LaunchPlan(
        run_name="r",
        model="m",
        transport="t",
        host="h",
        router_url="",
        processes=(_spec("prefill-0", "a"), _spec("decode-0", "b", Role.DECODE)),
        files=(
            PlannedFile("both.json", "{}", shared=True),
            PlannedFile("own.json", "{}", node="b"),
            PlannedFile("proxy.py", "x", node="a", program=True),
        ),
        requests=(Request(("curl", "-X", "POST", "--data", "x y"), "b"),),
        addresses={"a": "10.0.0.1"},
    )
    found = {node["name"]: [(e["kind"], e["name"]) for e in node["entries"]] for node in nodes_of(plan)}
    assert found == {
        "a": [("command", "prefill-0"), ("file", "both.json"), ("program", "proxy.py")],
        "b": [("command", "decode-0"), ("file", "both.json"), ("file", "own.json"), ("test", "test")],
    }
    assert nodes_of(plan)[0]["address"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("subject", "source", "field"),
    [
        ("prefill.tp", "x", "prefill.tp"),
        ("prefill.flags.page-size", "x", "prefill.flags"),
        ("prefill-0", "router.port (--port)", "router.port"),
        ("hosts.node1.gpus", "x", "hosts"),
        ("nowhere", "nothing", ""),
    ],
)
def test_a_finding_stands_beside_the_field_that_causes_it(
    monkeypatch: pytest.MonkeyPatch, subject: str, source: str, field: str
) -> None:
    finding = Finding("some-id", Severity.WARNING, subject, (Evidence(source, "1"),), "reason", "remedy")
    dialect = replace(BUNDLED, build=lambda placement: replace(BUNDLED.build(placement), findings=(finding,)))
    monkeypatch.setattr("pdpanel.panel.plan.dialect_of", lambda deployment: dialect)
    answer = ask(default_text())
    assert [(one["id"], one["field"]) for one in answer["findings"] if one["id"] == "some-id"] == [("some-id", field)]


def test_the_interpreter_of_one_role_is_written_into_its_part() -> None:
    text = "model: m\nprefill: {count: 1}\ndecode: {count: 1}\n"
    made = preview(text, [Edit("prefill.run.python", "/opt/python")], FIELDS)
    assert made["error"] is None and made["values"]["prefill.run.python"] == "/opt/python"
    commands = {one["name"]: one["text"] for one in made["nodes"][0]["entries"]}
    assert "/opt/python -m" in commands["prefill-0"] and "/opt/python" not in commands["decode-0"]
    back = preview(made["text"], [Edit("prefill.run.python", "")], FIELDS)
    assert back["text"] == text
