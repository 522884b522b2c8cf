"""The scripts of a Slurm job, run in a real bash with stand-ins for Slurm and the engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.exported import ExportedFile
from pdpanel.panel.export.shell_texts import shell_text
from pdpanel.panel.export.slurm_hosts import job_hosts, mark
from pdpanel.panel.export.writing import write_folder
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from spare_ports import spare_ports

PAIR: dict[str, Any] = {
    "name": "two",
    "model": "m",
    "engine": "sglang",
    "engine_version": "0.5.23",
    "prefill": {"count": 1, "hosts": ["10.0.0.1"], "tp": 4},
    "decode": {"count": 1, "hosts": ["10.0.0.2"], "tp": 8},
}
# Each host has an address of its own, so that a mark that is filled with another's is seen.
pytestmark = pytest.mark.timeout(580)

# A busy machine takes its time; nothing here waits longer than it must.
PATIENCE_S = 120.0
SCONTROL = """#!/usr/bin/env bash
if [[ $1 == show ]]; then tr , '\\n' <<<"$3"; else printf 'NodeName=%s NodeAddr=127.0.0.%s Port=1\\n' "$4" "${4#h}"; fi
"""
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do
  if [[ $1 == --nodelist=* ]]; then IFS=, read -ra nodes <<<"${1#*=}"; fi
  shift
done
for node in "${nodes[@]}"; do SLURMD_NODENAME=$node "$@" & jobs+=($!); done
trap 'kill -TERM "${jobs[@]}"' TERM
code=0
for job in "${jobs[@]}"; do wait "$job" || code=$?; done
exit "$code"
"""
ENGINE = """#!/usr/bin/env bash
printf '%s\\0' "$X" "$@" >"$RECORDS/.$$" && mv "$RECORDS/.$$" "$RECORDS/$$"
exec sleep 600
"""


def exported(deployment: Deployment) -> dict[str, ExportedFile]:
    return {file.path: file for file in export_files(plan(deployment, elsewhere(), None), deployment, "slurm")}


def header(deployment: Deployment) -> list[str]:
    script = exported(deployment)[f"{deployment.name}.slurm"].text
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def test_the_header_asks_for_what_the_plan_and_the_deployment_say() -> None:
    slurm = {"partition": "gpu", "account": "me", "time": "1-00:00:00", "nodes": ["n[01-09]"]}
    assert header(parse_deployment({**PAIR, "slurm": slurm})) == [
        "--job-name=two",
        "--nodes=2",
        "--ntasks=2",
        "--ntasks-per-node=1",
        "--exclusive",
        "--mem=0",
        "--gres=gpu:8",
        "--time=1-00:00:00",
        "--partition=gpu",
        "--account=me",
        "--nodelist=n01,n02",
    ]
    assert "--gres=gpu:h100:8" in header(parse_deployment({**PAIR, "slurm": {"gres": "gpu:h100:8"}}))
    alone = header(parse_deployment({"name": "two", "model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}))
    assert "--nodes=1" in alone
    assert not any(option.startswith(("--gres", "--nodelist", "--time")) for option in alone)


@pytest.mark.parametrize("value", ["a b", "x\u00e9", "'", '"', "$(id)", "`id`", "x;y", ""])
@pytest.mark.parametrize("field", ["partition", "account", "time", "gres"])
def test_what_a_header_cannot_hold_is_refused(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"slurm\.{field}"):
        header(parse_deployment({**PAIR, "slurm": {field: value}}))


@pytest.mark.parametrize("fields", [{}, {"slurm": {"nodes": ["n1", "n2"], "log_path": "/a b/'c"}}])
def test_the_scripts_pass_bash_and_shellcheck(fields: dict[str, Any], tmp_path: Path) -> None:
    deployment = parse_deployment({**PAIR, **fields})
    write_folder(list(exported(deployment).values()), tmp_path)
    scripts = [str(tmp_path / "two.slurm"), *map(str, tmp_path.rglob("*.sh"))]
    assert len(scripts) == 4
    for script in scripts:
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", script], check=True)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@contextmanager
def job(deployment: Deployment, root: Path) -> Iterator[tuple[subprocess.Popen[str], Path, Path]]:
    """Runs the job on the hosts h11 to h13; gives its process, the folder of records and that of the job."""
    write_folder(list(exported(deployment).values()), root / "export")
    programs, records = root / "bin", root / "records"
    for folder in (programs, records):
        folder.mkdir()
    for name, text in {"scontrol": SCONTROL, "srun": SRUN, "en gine": ENGINE}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RECORDS": str(records),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "h11,h12,h13",
        "SLURM_SUBMIT_DIR": str(root / "export"),
    }
    # As slurmd does it, which starts a copy of the script, but in the folder of the submission.
    shutil.copy(root / "export" / f"{deployment.name}.slurm", root / "script")
    process = subprocess.Popen(
        ["bash", str(root / "script")],
        env=environment,
        cwd=root / "export",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, records, root / "export" / "logs" / "7"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)


def bundled() -> dict[str, Any]:
    """The pair with the bundled engine, on ports that nobody here has."""
    prefill, bootstrap, decode, router = spare_ports(4)
    return {
        "name": "two",
        "model": "m",
        "prefill": {"count": 1, "hosts": ["10.0.0.1"], "port": prefill, "bootstrap_port": bootstrap},
        "decode": {"count": 1, "hosts": ["10.0.0.2"], "port": decode},
        "router": {"port": router},
    }


def recorded(records: Path, count: int, process: subprocess.Popen[str]) -> list[list[str]]:
    deadline = time.monotonic() + PATIENCE_S
    while len(found := [path for path in records.iterdir() if path.name[0] != "."]) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{len(found)} of {count} processes started"
        time.sleep(0.02)
    return sorted(path.read_text().split("\0")[:-1] for path in found)


def wait_for(condition: Any, problem: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.02)


TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30)
SHELL = st.sampled_from(
    ["$(touch pwned)", "`touch pwned`", "'", '"', "\\", ";", "&", "${IFS}", "*", "~", "#", "-x", " "]
)
HOSTILE = st.lists(SHELL | TEXT, min_size=1, max_size=6).map("".join)


def filled(text: str, count: int) -> str:
    """`text` as the job has it, whose nodes are h11, h12 and so on."""
    for number in range(count):
        text = text.replace(mark(number), f"127.0.0.{11 + number}")
    return text


def test_each_host_gets_the_commands_of_the_plan(tmp_path: Path) -> None:
    nasty = {"model": "'; touch pwned #$(touch pwned)`touch pwned`", "served_model_name": '"\\ ~*\U0001f600'}
    more = {"run": {"python": str(tmp_path / "bin" / "en gine")}, "env": {"X": "- $X ${IFS}&"}}
    deployment = parse_deployment(bundled() | nasty | more)
    hosts = job_hosts(plan(deployment, elsewhere(), None), deployment)
    expected = [[spec.env["X"], *(filled(word, 2) for word in spec.argv[1:])] for spec in hosts.plan.processes]
    with job(deployment, tmp_path) as (process, records, logs):
        assert recorded(records, len(expected), process) == sorted(expected)
        assert [line.split()[0] for line in (logs / "hosts").read_text().splitlines()] == ["h11", "h12"]
        wait_for(lambda: len(list(logs.glob("*_NODE?.log"))) == len(expected), "logs are not linked")
        (logs / "stop").touch()
        assert process.wait(PATIENCE_S) == 1, "it was not ready yet"
    assert not list(tmp_path.rglob("pwned"))
    for number in (path.name for path in records.iterdir()):
        assert not Path(f"/proc/{number}").exists()


@settings(deadline=None, max_examples=10)
@given(model=HOSTILE.filter(lambda text: bool(text.strip()) and text[0] != "-"), served=HOSTILE, value=HOSTILE)
def test_hostile_names_are_arguments(model: str, served: str, value: str) -> None:
    deployment = parse_deployment({**PAIR, "model": model, "served_model_name": served, "env": {"X": value}})
    hosts = job_hosts(plan(deployment, elsewhere(), None), deployment)
    scripts, verbs = exported(deployment), shell_text("processes", "answers", "verbs")
    for spec in hosts.plan.processes:
        head = filled(scripts[f"nodes/{spec.node}.sh"].text, 2).removesuffix(verbs)
        asked = f'describe {spec.name}; printf \'%s\\0\' "${{variables[@]}}" "${{command[@]}}"'
        done = subprocess.run(["bash", "-s"], input=(head + asked).encode(), capture_output=True, check=True)
        words = done.stdout.decode().split("\0")[:-1]
        assert words[-len(spec.argv) :] == [filled(word, 2) for word in spec.argv]
        assert f"X={value}" in words[: -len(spec.argv)]


def test_a_job_that_is_ended_ends_its_processes(tmp_path: Path) -> None:
    run = {"python": str(tmp_path / "bin" / "en gine")}
    deployment = parse_deployment(bundled() | {"run": run, "env": {"X": ""}})
    with job(deployment, tmp_path) as (process, records, _):
        recorded(records, 3, process)
        process.terminate()
        assert process.wait(PATIENCE_S) != 0
        for number in (path.name for path in records.iterdir()):
            wait_for(lambda number=number: not Path(f"/proc/{number}").exists(), "a process goes on")


def test_a_script_outside_of_slurm_says_so(tmp_path: Path) -> None:
    write_folder(list(exported(parse_deployment(PAIR)).values()), tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(
        ["bash", "two.slurm"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "submit this script with sbatch" in done.stderr
    environment |= {"SLURM_JOB_ID": "1", "SLURM_SUBMIT_DIR": "/"}
    done = subprocess.run(
        ["bash", "two.slurm"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "call sbatch in the folder of the export" in done.stderr


def test_the_same_deployment_gives_the_same_bytes() -> None:
    assert exported(parse_deployment(PAIR)) == exported(parse_deployment(PAIR))
