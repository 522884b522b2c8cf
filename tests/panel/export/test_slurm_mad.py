"""The steps of ROCm/MAD's own scripts: what is submitted, and what becomes of the logs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.writing import write_folder
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan

MAD: dict[str, Any] = {
    "engine": "sglang",
    "dialect": "rocm-mad",
    "model": "DeepSeek-V3",
    "prefill": {"count": 1},
    "decode": {"count": 1},
    "slurm": {"nodes": ["node1", "node2"]},
}
# Writes what it was called with, and with which of MAD's variables.
STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "${0##*/} $*" "$PWD" >>"$RECORD"
for name in DOCKER_IMAGE_NAME xP yD MODEL_NAME LOG_PATH RUN_MORI DP_MODE USE_CX7_NICS; do
  if [[ -n ${!name+set} ]]; then printf '%s=%s\\n' "$name" "${!name}" >>"$RECORD"; fi
done
"""


def export(fields: dict[str, Any], folder: Path) -> None:
    deployment = parse_deployment(fields)
    write_folder(export_files(plan(deployment, elsewhere(), None), deployment, "slurm"), folder)


def call(folder: Path, *command: str, **env: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("sbatch", "salloc", "docker", "git", "python3", "curl"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    (folder / "MAD" / "scripts" / "sglang_disagg").mkdir(parents=True, exist_ok=True)
    (folder / "MAD" / "docker").mkdir(exist_ok=True)
    (folder / "record").unlink(missing_ok=True)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "RECORD": str(folder / "record"), **env}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    record = folder / "record"
    return done, record.read_text().splitlines() if record.exists() else []


@pytest.mark.parametrize(
    ("script", "first"),
    [
        ("./submit.sh", "sbatch --partition=gpu --time=2:00:00 -N 2 -n 2 --nodelist=node1,node2 run_xPyD_models.slurm"),
        (
            "./submit-salloc.sh",
            "salloc --partition=gpu --time=2:00:00 -N 2 -n 2 --nodelist=node1,node2 --switches=2 --ntasks-per-node=1 "
            "--gres=gpu:8 --time=24:00:00 bash run_xPyD_models.slurm",
        ),
    ],
)
def test_both_forms_submit_mads_own_script(tmp_path: Path, script: str, first: str) -> None:
    slurm = {"nodes": ["node[1-2]"], "partition": "gpu", "time": "2:00:00", "log_path": "/a b/logs"}
    export({**MAD, "slurm": slurm, "run": {"image": "my/image:1"}}, tmp_path)
    done, record = call(tmp_path, script)
    assert done.returncode == 0, done.stderr
    assert record == [
        first,
        str(tmp_path / "MAD" / "scripts" / "sglang_disagg"),
        "DOCKER_IMAGE_NAME=my/image:1",
        "xP=1",
        "yD=1",
        "MODEL_NAME=DeepSeek-V3",
        "LOG_PATH=/a b/logs",
        "RUN_MORI=0",
        "DP_MODE=0",
        "USE_CX7_NICS=1",
    ]


def test_the_first_scripts_take_a_node_for_the_proxy(tmp_path: Path) -> None:
    slurm = {"nodes": ["node1", "node2", "node3"], "layout": "dedicated-proxy"}
    export({**MAD, "model": "Qwen3-32B", "slurm": slurm}, tmp_path)
    _, record = call(tmp_path, "./submit.sh")
    assert record[0] == "sbatch -N 3 -n 3 --nodelist=node1,node2,node3 run_xPyD_models.slurm"
    assert "RUN_MORI=0" not in record
    assert "etcd_NODE<n>.log" in (tmp_path / "README.md").read_text()
    assert "benchmark_parser.py" in (tmp_path / "results.sh").read_text()


def test_the_image_is_built_from_a_clone(tmp_path: Path) -> None:
    export(MAD, tmp_path)
    done, record = call(tmp_path, "./build.sh")
    assert done.returncode == 0, done.stderr
    assert record[0] == "git clone https://github.com/ROCm/MAD.git"
    assert record[2].startswith("docker build -t sglang_disagg_pd_image -f docker/sglang_disagg_inference")


def test_results_are_read_from_the_folder_of_the_job(tmp_path: Path) -> None:
    export(MAD, tmp_path)
    logs = tmp_path / "lo gs" / "12"
    logs.mkdir(parents=True)
    done, record = call(tmp_path, "./results.sh", "12", LOG_PATH="lo gs")
    assert (done.returncode, record) == (1, [])
    assert "has no *_CONCURRENCY.log" in done.stderr
    (logs / "benchmark_12_xP1_yD1_m_CONCURRENCY.log").touch()
    done, record = call(tmp_path, "./results.sh", "12", LOG_PATH="lo gs")
    assert done.returncode == 0, done.stderr
    assert record[0] == f"python3 parse_to_csv.py {logs}/benchmark_12_xP1_yD1_m_CONCURRENCY.log"
    done, _ = call(tmp_path, "./results.sh", "12")
    assert "set LOG_PATH" in done.stderr
    done, record = call(tmp_path, "./results.sh", "test")
    assert shlex.split(record[0])[:4] == ["curl", "-X", "POST", "http://127.0.0.1:2322/generate"]


def test_a_job_without_nodes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"slurm\.nodes"):
        plan(parse_deployment({**MAD, "slurm": {}}), elsewhere(), None)


def test_the_scripts_pass_shellcheck(tmp_path: Path) -> None:
    export(MAD, tmp_path)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    scripts = sorted(map(str, tmp_path.glob("*.sh")))
    assert len(scripts) == 4
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("form", ["compose", "systemd", "k8s"])
def test_what_starts_no_jobs_refuses_one_and_names_slurm(form: str) -> None:
    deployment = parse_deployment(MAD)
    with pytest.raises(ConfigError, match=r"is a job of Slurm's.*export it as slurm"):
        export_files(plan(deployment, elsewhere(), None), deployment, form)
