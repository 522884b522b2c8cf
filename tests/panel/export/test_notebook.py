"""The notebook: valid by the format's own schema, and its cells hold the deployment and its commands."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.panel.deployment import Deployment, parse_deployment, parse_deployment_text
from pdpanel.panel.export.export import export_files
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan

PAIR: dict[str, Any] = {"name": "two", "model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}
SPREAD: dict[str, Any] = {
    **PAIR,
    "hosts": {"a": {"address": "10.0.0.1"}, "b": {"address": "fd00::2"}},
    "prefill": {"count": 1, "hosts": ["a"]},
    "decode": {"count": 1, "hosts": ["b"]},
}
SGLANG: dict[str, Any] = {**PAIR, "engine": "sglang", "engine_version": "0.5.23"}


def cells_of(deployment: Deployment) -> list[tuple[str, str]]:
    (file, _) = export_files(plan(deployment, elsewhere(), None), deployment, "notebook")
    assert file.path == f"{deployment.name}.ipynb"
    document = nbformat.from_dict(json.loads(file.text))
    nbformat.validate(document)
    return [(cell["cell_type"], cell["source"]) for cell in nbformat.reads(file.text, as_version=4)["cells"]]


def scripts_of(cells: list[tuple[str, str]]) -> list[str]:
    return [text.removeprefix("%%bash\n") for kind, text in cells if kind == "code" and text.startswith("%%bash\n")]


@pytest.mark.parametrize("fields", [PAIR, SPREAD, SGLANG], ids=["here", "hosts", "sglang"])
def test_a_notebook_goes_from_the_deployment_to_its_end(fields: dict[str, Any]) -> None:
    deployment = parse_deployment(fields)
    cells = cells_of(deployment)
    written = next(text for kind, text in cells if kind == "code" and text.startswith("%%writefile deployment.yaml\n"))
    assert parse_deployment_text(written.partition("\n")[2]) == deployment
    headings = [line for kind, text in cells if kind == "markdown" for line in text.splitlines() if line[:3] == "## "]
    assert headings == [
        "## The deployment",
        "## What it comes to",
        "## Start",
        "## Look",
        "## Ask for an answer",
        "## Measure",
        "## Stop",
    ]
    for script in scripts_of(cells):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (script, done.stderr)


def test_this_host_is_served_by_the_panels_own_commands() -> None:
    scripts = scripts_of(cells_of(parse_deployment(PAIR)))
    words = [shlex.split(script) for script in scripts]
    assert ["pdpanel", "up", "--yes", "deployment.yaml"] in words
    assert ["pdpanel", "down", "--run=two"] in words
    assert any(each[0] == "curl" for each in words)
    assert all("ssh" not in each for each in words)


def test_other_hosts_are_reached_at_their_addresses() -> None:
    scripts = scripts_of(cells_of(parse_deployment(SPREAD)))
    started = next(script for script in scripts if "start" in script)
    assert "'10.0.0.1 a'" in started
    assert "'fd00::2 b'" in started
    assert any(script.endswith("./export/a.sh test") for script in scripts)
    assert all("pdpanel up" not in script for script in scripts)


HOSTILE = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30
) | st.sampled_from(["'; id #", "$(id)", "`id`", "%%bash", "```", "{x}", "!id", "]]>", "\\"])


@settings(deadline=None, max_examples=25)
@given(model=HOSTILE.filter(lambda text: bool(text.strip()) and text[0] != "-"), prompt=st.text(max_size=30))
def test_hostile_text_stays_text(model: str, prompt: str) -> None:
    deployment = parse_deployment({**SGLANG, "model": model, "smoke_test": {"prompt": prompt}})
    cells = cells_of(deployment)
    written = next(text for kind, text in cells if kind == "code" and text.startswith("%%writefile"))
    assert parse_deployment_text(written.partition("\n")[2]).model == model
    (asked,) = [shlex.split(script) for script in scripts_of(cells) if script.startswith("curl")]
    assert json.loads(asked[-1])["text"] == prompt
    (bench,) = [shlex.split(script) for script in scripts_of(cells) if "bench_serving" in script]
    assert model in bench


def test_the_same_deployment_gives_the_same_bytes() -> None:
    assert cells_of(parse_deployment(SPREAD)) == cells_of(parse_deployment(SPREAD))
