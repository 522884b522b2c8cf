from __future__ import annotations

import csv
import io
import json
import shlex
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.load.commands import equivalents
from pdpanel.panel.load.export import COLUMNS, export
from pdpanel.panel.load.imported import imported_entries
from pdpanel.panel.load.spec import Arrival, LoadSpec, Route, checked

SPEC = checked(LoadSpec(url="http://h:1", requests=16, concurrency=8, input="1024", output="512-1024", seed=3))
ENTRY: dict[str, Any] = {
    "id": "load-1",
    "name": "=1+1",
    "kind": "load",
    "state": "finished",
    "mode": "1P1D",
    "spec": {"input": "8", "output": "5"},
    "columns": {"requests_per_s": 2.5, "ttft_p50_ms": 10.0},
}


def test_a_table_for_spreadsheets_holds_no_formula() -> None:
    head, row = csv.reader(io.StringIO(export([ENTRY], "csv")))
    found = dict(zip(head, row, strict=True))
    assert tuple(head) == COLUMNS
    assert (found["name"], found["requests_per_s"], found["itl_p50_ms"], found["input"]) == ("'=1+1", "2.5", "", "8")


@given(st.text(max_size=30))
def test_markdown_stays_a_table_whatever_a_name_is(name: str) -> None:
    lines = export([ENTRY | {"name": name}, ENTRY], "md").split("\n")
    assert len(lines) == 5
    assert len({line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines[:4]}) == 1
    assert "itl_p50_ms" not in lines[0]


def test_json_has_everything() -> None:
    assert json.loads(export([ENTRY], "json")) == {"results": [ENTRY]}


def test_commands_say_the_same_load() -> None:
    own, sglang, vllm = (shlex.split(one.command) for one in equivalents(SPEC, "org/model"))
    assert own[:3] == ["pdpanel", "load", "http://h:1"]
    for words in (sglang, vllm):
        found = dict(pairwise(words))
        assert found["--base-url"] == "http://h:1"
        assert found["--num-prompts"] == "16"
        assert found["--max-concurrency"] == "8"
        assert found["--request-rate"] == "inf"
        assert found["--seed"] == "3"
        assert found["--model"] == "org/model"
    assert sglang[sglang.index("--random-output-len") + 1] == "1024"
    # vLLM draws around the middle.
    assert vllm[vllm.index("--random-output-len") + 1] == "768"


def test_what_a_program_cannot_say_is_told() -> None:
    spec = checked(replace(SPEC, arrival=Arrival.CONSTANT, rate=4.0, requests=None, duration_s=30.0, input="9~3"))
    own, sglang, vllm = equivalents(replace(spec, route=Route.GENERATE), "")
    assert "--constant" in own.command
    assert not own.remarks
    assert "--num-prompts 120" in sglang.command
    assert [
        word for word in ("not equal", "not after 30 s", "not normal") if word not in " ".join(sglang.remarks)
    ] == []
    assert any("/generate" in remark for remark in vllm.remarks)


@given(st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text))
def test_a_hostile_model_is_an_argument(model: str) -> None:
    for one in equivalents(replace(SPEC, model=model), model):
        assert model in shlex.split(one.command)


def test_our_own_command_is_understood_by_our_command_line() -> None:
    from pdpanel.panel.cli import app
    from typer.testing import CliRunner

    spec = checked(
        replace(SPEC, arrival=Arrival.POISSON, rate=2.0, slo_ttft_ms=100.0, temperature=0.5, url="http://127.0.0.1:9")
    )
    words = shlex.split(equivalents(replace(spec, ignore_eos=False, route=Route.CHAT), "m")[0].command)
    result = CliRunner().invoke(app, words[1:])
    # Everything was understood; only the server is not there.
    assert "No server answers" in str(result.exception)


def test_results_of_other_programs_become_entries() -> None:
    record = {
        "backend": "sglang",
        "request_throughput": 3.0,
        "input_throughput": 5.0,
        "completed": 6,
        "max_concurrency": 4,
    }
    (entry,) = imported_entries((json.dumps(record) + "\n").encode(), "r.jsonl", 100.0)
    assert entry["name"] == "SGLang bench_serving: concurrency 4"
    assert entry["columns"]["requests_per_s"] == 3.0
    assert entry["source"] == "r.jsonl, line 1"
    assert "source" not in entry["columns"]
    with pytest.raises(ConfigError, match="holds no result"):
        imported_entries(b"hello", "x", 1.0)


@pytest.mark.parametrize("form", ["csv", "json", "md"])
def test_results_of_a_simulated_host_say_so_in_every_format(form: str) -> None:
    assert "SIMULATED host x" in export([ENTRY], form, "SIMULATED host x")
    assert "simulated" not in export([ENTRY], form).lower()
    if form == "json":
        assert json.loads(export([ENTRY], form, "SIMULATED"))["results"] == [ENTRY]
