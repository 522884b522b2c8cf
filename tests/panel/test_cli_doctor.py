"""The command doctor as a process of its own: what it prints and how it exits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from simulated_node import grow_node

from .test_cli import pdpanel

BROKEN = "rdma_context.cpp:123] Failed to register memory 0x7f00: Bad address [14]\n"


def test_a_healthy_node_has_no_error(tmp_path: Path) -> None:
    node = grow_node(tmp_path / "node", gpus=2, nics=2, gids=8).root
    done = pdpanel(tmp_path, "doctor", "--json", "--root", str(node))
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["counts"]["error"] == 0
    assert answer["checks"]["memlock-low"] == "ok"
    for finding in answer["findings"]:
        assert finding.keys() == {"id", "severity", "subject", "evidence", "reason", "remedy", "corrected"}


def test_a_broken_node_exits_with_1(tmp_path: Path) -> None:
    node = grow_node(tmp_path / "node", gpus=2, nics=2, gids=8).root
    facts = json.loads((node / "pdpanel/facts.json").read_text())
    facts["rlimits"]["memlock"] = [65536, 65536]
    (node / "pdpanel/facts.json").write_text(json.dumps(facts))
    status = node / "proc/self/status"  # CAP_IPC_LOCK would lift the limit.
    status.write_text(re.sub(r"CapEff:.*", "CapEff:\t0000000000000000", status.read_text()))
    done = pdpanel(tmp_path, "doctor", "--root", str(node))
    assert done.returncode == 1
    assert "ERROR    memlock-low" in done.stdout
    assert "fix: " in done.stdout


def test_this_host_has_no_error(tmp_path: Path) -> None:
    """Whoever works on pdpanel has a host on which it runs."""
    done = pdpanel(tmp_path, "doctor")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_log_is_explained_without_a_look_at_the_host(tmp_path: Path) -> None:
    log = tmp_path / "prefill.log"
    log.write_text("INFO all is well\n" + BROKEN)
    done = pdpanel(tmp_path, "doctor", "--json", "--log", str(log))
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    (finding,) = answer["findings"]
    assert finding["severity"] == "error"
    assert finding["evidence"][0] == {"source": f"{log}:2", "value": BROKEN.strip()}
    assert answer["checks"] == {}


def test_a_quiet_log_exits_with_0(tmp_path: Path) -> None:
    log = tmp_path / "decode.log"
    log.write_text("INFO started\n")
    done = pdpanel(tmp_path, "doctor", "--log", str(log))
    assert (done.returncode, done.stdout) == (0, "Nothing to remark.\n")


def test_logs_of_two_workers_are_compared(tmp_path: Path) -> None:
    names = []
    for role, page in (("prefill", 16), ("decode", 32)):
        log = tmp_path / f"{role}.log"
        log.write_text(f"server_args=ServerArgs(model_path='m', page_size={page}, disaggregation_mode='{role}')\n")
        names += ["--log", str(log)]
    answer = json.loads(pdpanel(tmp_path, "doctor", "--json", *names).stdout)
    assert "pd-page-size" in {finding["id"] for finding in answer["findings"]}


def test_a_script_is_checked_against_a_host(tmp_path: Path) -> None:
    node = grow_node(tmp_path / "node", gpus=2, nics=2, gids=8).root
    script = tmp_path / "launch.sh"
    command = "python -m sglang.launch_server --model-path m --disaggregation-mode"
    script.write_text(f"{command} prefill --page-size 1\n{command} decode --page-size 64 --port 30001\n")
    done = pdpanel(tmp_path, "doctor", "--json", "--root", str(node), "--deployment", str(script))
    assert done.returncode == 1
    found = {finding["id"] for finding in json.loads(done.stdout)["findings"]}
    assert {"pd-page-size", "gpu-shared"} <= found


def test_control_sequences_of_a_log_do_not_reach_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "evil.log"
    log.write_text(f"\x1b]0;owned\x07\x1b[31m{BROKEN}")
    done = pdpanel(tmp_path, "doctor", "--log", str(log))
    assert done.returncode == 1
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout


def test_every_id_can_be_explained(tmp_path: Path) -> None:
    rules = json.loads(pdpanel(tmp_path, "doctor", "--list", "--json").stdout)["rules"]
    ids = [rule["id"] for rule in rules]
    assert len(ids) == len(set(ids)) > 100
    listed = pdpanel(tmp_path, "doctor", "--list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ids
    explained = pdpanel(tmp_path, "doctor", "--explain", ids[-1]).stdout
    assert explained.startswith(f"{ids[-1]}: ")
    assert json.loads(pdpanel(tmp_path, "doctor", "--json", "--explain", ids[0]).stdout)["id"] == ids[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--explain", "memlok"], "--explain = 'memlok': is not the id of a finding; perhaps one of memlock-low"),
        (["--explain", "zzz"], "see `pdpanel doctor --list`"),
        (["--log", "nowhere.log"], "--log = 'nowhere.log': No such file"),
        (["--log", "."], "--log = '.': is a directory"),
        (["--log", "/proc/self/mem"], "--log = '/proc/self/mem': "),
        (["--root", "nowhere"], "--root = '"),
        (["--deployment", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_cannot_be_looked_at_exits_with_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = pdpanel(tmp_path, "doctor", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
