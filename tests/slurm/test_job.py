"""Exported jobs on a real Slurm: the bundled engine over several nodes, to an answer and to its end."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.writing import write_folder
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from real_slurm import Slurm
from spare_ports import spare_ports

pytestmark = pytest.mark.timeout(580)

# The engine starts, answers and ends within it, also on a busy machine.
TIMEOUT_S = 300


def pair(nodes: tuple[str, str, str], **fields: Any) -> Deployment:
    """A prefill worker, a decode worker and a router on hosts that are all this one, with ports of their own."""
    prefill, bootstrap, decode, router = spare_ports(4)
    return parse_deployment(
        {
            "name": "pair",
            "model": "smollm2-135m-instruct",
            "hosts": {host: {"address": "127.0.0.1"} for host in nodes},
            "prefill": {"count": 1, "hosts": [nodes[0]], "port": prefill, "bootstrap_port": bootstrap},
            "decode": {"count": 1, "hosts": [nodes[1]], "port": decode},
            "router": {"node": nodes[2], "port": router, "host": "127.0.0.1"},
            "run": {"python": sys.executable},
            "limits": {"ready_timeout_s": TIMEOUT_S},
            "smoke_test": {"prompt": "The capital of France is", "temperature": 0, "max_tokens": 8},
        }
        | fields
    )


def export(deployment: Deployment, folder: Path) -> Path:
    write_folder(export_files(plan(deployment, elsewhere(), None), deployment, "slurm"), folder)
    return folder


def started_in(folder: Path) -> list[psutil.Process]:
    """Everything that runs for a job whose folder is `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
        except psutil.Error:
            continue
        if any(str(folder) in word for word in words):
            found.append(process)
    return found


def ask(url: str) -> str:
    body = {"text": "The capital of France is", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}
    request = urllib.request.Request(f"{url}/generate", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["text"]


@pytest.mark.usefixtures("smollm2")
def test_a_job_answers_and_scancel_leaves_nothing(slurm: Slurm, tmp_path: Path) -> None:
    deployment = pair(("n1", "n2", "n3"))
    folder = export(deployment, tmp_path / "export")
    job = slurm.submit(folder, "pair.slurm")
    logs = folder / "logs" / job
    slurm.wait(lambda: (logs / "ready").exists() or job not in slurm.running(), "no node is ready", TIMEOUT_S)

    said = "\n".join(path.read_text() for path in [folder / f"slurm-{job}.out", *logs.glob("*.log")])
    assert (logs / "ready").exists(), said
    assert "Paris" in (logs / "smoke-test.log").read_text()
    assert "Paris" in ask((logs / "ready").read_text().strip())
    assert {line.split()[0] for line in (logs / "hosts").read_text().splitlines()} == {"n1", "n2", "n3"}
    assert {path.name[: path.name.index("_")] for path in logs.glob("*_NODE?.log")} == {
        "prefill-0",
        "decode-0",
        "router",
    }
    assert len(started_in(logs)) >= 3

    slurm.call("scancel", job)
    slurm.wait(lambda: job not in slurm.running(), "the job does not end")
    slurm.wait(lambda: not started_in(logs), "something of the job still runs")
    assert slurm.show(job)["JobState"] == "CANCELLED"
    assert not (logs / "ready").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2")
def test_hosts_that_stand_for_any_node_are_filled_by_slurm(slurm: Slurm, tmp_path: Path) -> None:
    deployment = pair(("10.0.0.1", "10.0.0.2", "10.0.0.2"), hosts={})
    deployment = deployment.model_copy(update={"router": deployment.router.model_copy(update={"host": "0.0.0.0"})})
    folder = export(deployment, tmp_path / "export")
    assert not any("--host 10.0.0." in path.read_text() for path in folder.rglob("*.sh"))
    job = slurm.submit(folder, "pair.slurm", UNTIL_READY="1", LOG_PATH=str(tmp_path / "elsewhere"))
    logs = tmp_path / "elsewhere" / job
    slurm.wait(lambda: job not in slurm.running(), "the trial does not end", TIMEOUT_S)

    said = "\n".join(path.read_text() for path in [folder / f"slurm-{job}.out", *logs.glob("*.log")])
    assert (slurm.show(job)["JobState"], slurm.show(job)["ExitCode"]) == ("COMPLETED", "0:0"), said
    assert "Paris" in (logs / "smoke-test.log").read_text(), said
    assert not started_in(logs)


def test_a_worker_that_ends_ends_the_job_with_an_error(slurm: Slurm, tmp_path: Path) -> None:
    decode = {"count": 1, "hosts": ["n2"], "port": spare_ports(1)[0], "flags": {"no-such-flag": True}}
    deployment = pair(("n1", "n2", "n3"), decode=decode)
    folder = export(deployment, tmp_path / "export")
    job = slurm.submit(folder, "pair.slurm")
    logs = folder / "logs" / job
    slurm.wait(lambda: job not in slurm.running(), "the job does not end", TIMEOUT_S)

    state = slurm.show(job)
    assert (state["JobState"], state["ExitCode"]) == ("FAILED", "1:0")
    assert "no-such-flag" in (logs / "n2" / "logs" / "decode-0.log").read_text()
    assert not started_in(logs)
