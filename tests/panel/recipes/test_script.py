"""Scripts run in a real bash, with a stand-in that records the arguments that arrive."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdpanel.nic_probe import Evidence, Severity
from pdpanel.nic_probe.checks.check import Rule
from pdpanel.panel.recipes.catalog import RECIPES, find_recipe
from pdpanel.panel.recipes.recipe import Command, Rendered
from pdpanel.panel.recipes.script import script_of

from .rendering import render

RECIPE = find_recipe("smoke-test")
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40)
HOSTILE = st.one_of(
    TEXT,
    st.sampled_from(
        ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "-x", "a\nb", "\\", "*"]
    ),
)
# The folder is the same for all examples; each writes its files anew.
REUSED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

STAND_IN = """#!/bin/bash
printf '%s\\0' "$PWD" "${VALUE-unset}" "$@" >> "$RECORD"
printf '\\n\\0' >> "$RECORD"
"""


class Place:
    """A folder with stand-ins for programs."""

    def __init__(self, folder: Path, programs: Sequence[str]) -> None:
        self.folder, self.record = folder, folder / "record"
        (folder / "bin").mkdir(exist_ok=True)
        for program in programs:
            (folder / "bin" / program).write_text(STAND_IN)
            (folder / "bin" / program).chmod(0o755)

    def run(self, script: str, *arguments: str) -> tuple[int, list[list[str]]]:
        """Returns the exit code and, for each call of a stand-in, its folder, $VALUE and its arguments."""
        self.record.write_bytes(b"")
        (self.folder / "script.sh").write_bytes(script.encode())
        environ = {"PATH": f"{self.folder / 'bin'}:{os.defpath}", "RECORD": str(self.record)}
        command = ["bash", str(self.folder / "script.sh"), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, timeout=30, check=False)
        calls: list[list[str]] = [[]]
        for word in self.record.read_bytes().decode().split("\0")[:-1]:
            if word == "\n" and calls[-1]:
                calls.append([])
            else:
                calls[-1].append(word)
        return done.returncode, calls[:-1]


@REUSED
@given(arguments=st.lists(HOSTILE.filter(lambda text: text != "\n"), max_size=5), value=HOSTILE, own=HOSTILE)
def test_arguments_arrive_as_they_are(tmp_path: Path, arguments: list[str], value: str, own: str) -> None:
    place = Place(tmp_path, ["tool"])
    first = Command("r", ("tool", *arguments))
    second = Command("r", ("tool", *arguments), env={"VALUE": own})
    code, calls = place.run(script_of(RECIPE, Rendered((first, second), env={"VALUE": value})))
    here = str(tmp_path)
    assert (code, calls) == (0, [[here, value, *arguments], [here, own, *arguments]])
    assert not (tmp_path / "pwned").exists()


@REUSED
@given(name=HOSTILE.filter(lambda text: "/" not in text and text not in {"", ".", "..", "bin", "record", "script.sh"}))
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    place = Place(tmp_path, ["tool"])
    (tmp_path / name).mkdir(exist_ok=True)
    code, calls = place.run(script_of(RECIPE, Rendered((Command("r", ("tool",), cwd=name),))))
    assert (code, calls) == (0, [[str(tmp_path / name), "unset"]])


@REUSED
@given(prompt=HOSTILE.filter(bool))
def test_a_prompt_arrives_as_it_is(tmp_path: Path, prompt: str) -> None:
    place = Place(tmp_path, ["curl"])
    rendered = render("smoke-test", f"prompt={prompt}")
    code, calls = place.run(script_of(RECIPE, rendered))
    assert (code, calls) == (0, [[str(tmp_path), "unset", *rendered.commands[0].argv[1:]]])
    assert not (tmp_path / "pwned").exists()


@REUSED
@given(text=HOSTILE)
def test_a_remark_stays_a_comment(tmp_path: Path, text: str) -> None:
    finding = Rule("some-rule", "", "").finding(Severity.INFO, text, (Evidence(text, text),), text, text, text)
    place = Place(tmp_path, ["tool"])
    code, calls = place.run(script_of(RECIPE, Rendered((Command("r", ("tool",)),), findings=(finding,))))
    assert (code, len(calls)) == (0, 1)
    assert not (tmp_path / "pwned").exists()


def test_each_role_is_a_word(tmp_path: Path) -> None:
    place = Place(tmp_path, ["transfer_engine_bench", "transfer_engine_topology_dump"])
    rendered = render("link-bench", "target=n1", "rpc_port=5")
    script = script_of(find_recipe("link-bench"), rendered)
    for command in rendered.commands:
        assert place.run(script, command.role) == (0, [[str(tmp_path), "unset", *command.argv[1:]]])
    assert place.run(script) == (2, [])
    assert place.run(script, "nothing") == (2, [])


def test_a_role_on_several_hosts_is_told_apart(tmp_path: Path) -> None:
    place = Place(tmp_path, ["etcd"])
    rendered = render("etcd", "nodes=a,b")
    code, calls = place.run(script_of(find_recipe("etcd"), rendered), "metadata@b")
    assert (code, [call[2:] for call in calls]) == (0, [list(rendered.commands[1].argv[1:])])


def test_the_first_failure_ends_it(tmp_path: Path) -> None:
    place = Place(tmp_path, ["tool"])
    commands = (Command("r", ("false",)), Command("r", ("tool",)))
    assert place.run(script_of(RECIPE, Rendered(commands))) == (1, [])


def test_files_are_written_as_they_are(tmp_path: Path) -> None:
    place = Place(tmp_path, ["tool"])
    text = "a 'b' $(c)\n%s"
    code, _ = place.run(script_of(RECIPE, Rendered((Command("r", ("tool",)),), files={"n1:a b.json": text})))
    assert (code, (tmp_path / "a b.json").read_text()) == (0, text)


NEEDED = {
    "mad-submit": ("nodes=a,b,c", "model_name=m"),
    "mad-post-run": ("log_path=/l", "job_id=1", "benchmark_log=b"),
    "link-bench": ("target=n1", "rpc_port=1"),
    "link-bench-perftest": ("target=n1",),
}


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES])
def test_every_script_is_bash(tmp_path: Path, name: str) -> None:
    script = tmp_path / "script.sh"
    script.write_text(script_of(find_recipe(name), render(name, *NEEDED.get(name, ()))))
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
