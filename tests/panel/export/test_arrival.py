"""What an exported script hands to the engine is what the plan says, byte for byte, whatever the words are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from export_plans import NASTY, deployment, plan_of, process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.writing import write_folder
from pdpanel.panel.launch import ProcessSpec
from recorder import Recorder

Drawn = list[tuple[str, list[str], dict[str, str]]]
pytestmark = pytest.mark.timeout(580)

PROGRAMS = ("python3", "-strange", "a=b", "name with 'quotes' $(x)")
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(NASTY)
# Some of these a shell keeps for itself, or would act upon.
NAMES = st.sampled_from(["UID", "PPID", "IFS", "BASH_ENV", "PS4", "BASHOPTS", "CDPATH"]) | st.from_regex(
    r"X_[A-Za-z0-9_]{0,8}", fullmatch=True
)
PROCESSES = st.lists(
    st.tuples(st.sampled_from(PROGRAMS), st.lists(WORDS, max_size=6), st.dictionaries(NAMES, WORDS, max_size=4)),
    min_size=1,
    max_size=12,
)
SOME: Drawn = [("python3", list(NASTY), {f"X_{number}": word for number, word in enumerate(NASTY)})]
SOME += [(program, ["--model-path", "-x", "'"], {"UID": "7", "IFS": "a"}) for program in PROGRAMS]


def specs(drawn: Drawn) -> list[ProcessSpec]:
    return [
        process(f"p-{number}", (program, f"p-{number}", *words), env=env)
        for number, (program, words, env) in enumerate(drawn)
    ]


def check(recorder: Recorder, wanted: list[ProcessSpec], *, marked: bool) -> None:
    for spec in wanted:
        assert recorder.arguments(spec.name) == spec.argv[1:]
        arrived = recorder.variables(spec.name)
        assert bool(arrived.pop("PDPANEL_RUN_ID", "")) == marked
        assert arrived == dict(spec.env)


def run_sh(drawn: Drawn, folder: Path) -> None:
    recorder, wanted = Recorder(folder, PROGRAMS), specs(drawn)
    write_folder(export_files(plan_of(*wanted), deployment(), "sh"), folder / "out")
    started = recorder.run("./pd.sh", "start", cwd=folder / "out", hold=True)
    try:
        assert started.returncode == 0, started.stderr
        recorder.await_records(spec.name for spec in wanted)
        assert (recorder.run("./pd.sh", "status", cwd=folder / "out")).returncode == 0
    finally:
        stopped = recorder.run("./pd.sh", "stop", cwd=folder / "out")
    assert stopped.returncode == 0, stopped.stderr
    check(recorder, wanted, marked=True)
    assert recorder.run("./pd.sh", "status", cwd=folder / "out").returncode == 3


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROCESSES)
def test_words_arrive_through_the_script(drawn: Drawn) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_sh(drawn, Path(folder))


def test_known_troublemakers_arrive_through_the_script(tmp_path: Path) -> None:
    run_sh(SOME, tmp_path)
    assert not Path("/tmp/pdpanel-was-here").exists()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROCESSES)
def test_words_arrive_through_pasted_commands(drawn: Drawn) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        recorder, wanted = Recorder(folder, PROGRAMS), specs(drawn)
        write_folder(export_files(plan_of(*wanted), deployment(), "env"), folder / "out")
        done = recorder.run("bash", "commands.sh", cwd=folder / "out" / "pd")
        assert done.returncode == 0, done.stderr
        check(recorder, wanted, marked=False)


def test_known_troublemakers_arrive_through_a_file_of_variables(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ("python3",))
    (wanted,) = specs(SOME[:1])
    write_folder(export_files(plan_of(wanted), deployment(), "env"), tmp_path / "out")
    line = "set -a; . ./p-0.env; set +a; exec python3 p-0"
    assert recorder.run("sh", "-c", line, cwd=tmp_path / "out" / "pd").returncode == 0
    assert recorder.variables("p-0") == dict(wanted.env)
