"""`pdpanel lint` and `pdpanel import`: what goes to stdout and stderr, and how they exit."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pdpanel.panel.cli import main

P = "python -m sglang.launch_server --model-path m --disaggregation-mode prefill --port 30000"
D = "python -m sglang.launch_server --model-path m --disaggregation-mode decode --port 30001 --base-gpu-id 1"
WRONG = "--decode http://a:1,http://b:1\n"
LEGACY = "MOONCAKE_CONFIG_PATH=./mooncake.json "


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Pdpanel = Callable[..., Done]


@pytest.fixture
def pdpanel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Pdpanel:
    """Returns the command line, run in this process."""

    def run(*arguments: str, stdin: str = "", cwd: Path | None = None) -> Done:
        monkeypatch.setattr(sys, "argv", ["pdpanel", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        if cwd is not None:
            monkeypatch.chdir(cwd)
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return Done(int(ended.value.code or 0), written.out, written.err)

    return run


def test_findings_are_printed_and_an_error_is_exit_code_1(tmp_path: Path, pdpanel: Pdpanel) -> None:
    file = tmp_path / "router.sh"
    file.write_text(WRONG)
    done = pdpanel("lint", str(file))
    assert (done.returncode, done.stderr) == (1, "")
    assert "router-options" in done.stdout and "1 error" in done.stdout
    fine = pdpanel("lint", "-", stdin="--decode http://a:1 --decode http://b:1")
    assert (fine.returncode, fine.stdout) == (0, "Nothing to remark.\n")


def test_fix_prints_the_text_and_tells_the_findings_beside_it(pdpanel: Pdpanel) -> None:
    done = pdpanel("lint", "--fix", "-", stdin=WRONG)
    assert (done.returncode, done.stdout) == (1, "--decode http://a:1 --decode http://b:1\n")
    assert "router-options" in done.stderr


def test_json_has_findings_counts_and_the_corrected_text(pdpanel: Pdpanel) -> None:
    done = pdpanel("lint", "--json", "--engine-version", "0.5.23", "-", stdin=f"{P} --tp-size 8 --dp-size 8")
    answer = json.loads(done.stdout)
    assert (answer["kind"], answer["counts"]["error"]) == ("shell", 1)
    assert answer["corrected"] == f"{P} --tp-size 8 --attn-dp-size 8"
    assert {"id", "severity", "subject", "evidence", "reason", "remedy", "corrected"} <= answer["findings"][0].keys()


def test_what_cannot_be_judged_is_exit_code_2(tmp_path: Path, pdpanel: Pdpanel) -> None:
    assert pdpanel("lint", "-", stdin="nothing").returncode == 2
    missing = pdpanel("lint", str(tmp_path / "none"))
    assert missing.returncode == 2 and "Traceback" not in missing.stderr
    assert pdpanel("lint", str(tmp_path)).returncode == 2


def test_import_writes_the_deployment_and_reads_the_config_beside_the_script(tmp_path: Path, pdpanel: Pdpanel) -> None:
    (tmp_path / "start.sh").write_text(f"{LEGACY}{P} --host 10.0.0.1\n{LEGACY}{D} --host 10.0.0.1\n")
    config = {"local_hostname": "10.0.0.1", "metadata_server": "etcd://10.0.0.1:2379", "protocol": "rdma"}
    (tmp_path / "mooncake.json").write_text(json.dumps({**config, "device_name": "mlx5_0"}))
    done = pdpanel("import", "start.sh", "-o", "made.yaml", "--name", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load((tmp_path / "made.yaml").read_text())
    assert (made["name"], made["dialect"], made["nics"]) == ("mine", "sglang-legacy", ["mlx5_0"])
    assert made["metadata"] == {"server": "etcd://10.0.0.1:2379"}
    rendered = pdpanel("render", "made.yaml", "--json", cwd=tmp_path)
    assert rendered.returncode in {0, 1}, rendered.stderr


def test_import_without_workers_is_exit_code_2(pdpanel: Pdpanel) -> None:
    done = pdpanel("import", "-", stdin="echo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "lint-nothing" in done.stderr


def test_the_doctor_takes_a_config_and_a_compose_file(tmp_path: Path, pdpanel: Pdpanel) -> None:
    config = tmp_path / "mooncake.json"
    config.write_text('{"local_hostname": "a", "metadata_server": "P2PHANDSHAKE", "device_name": "a b"}')
    done = pdpanel("doctor", "--json", "--deployment", str(config))
    assert "mooncake-device-name" in {finding["id"] for finding in json.loads(done.stdout)["findings"]}
    compose = tmp_path / "compose.yaml"
    compose.write_text(f"services:\n  p:\n    command: {P}\n    environment: [MC_FORCE_MNNVL=0]\n")
    done = pdpanel("doctor", "--json", "--deployment", str(compose))
    assert "variable-presence" in {finding["id"] for finding in json.loads(done.stdout)["findings"]}
