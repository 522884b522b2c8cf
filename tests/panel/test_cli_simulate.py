"""`--simulate` as a person types it: the list, a wrong name, commands on a made-up host, and the mark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from pdpanel.panel.cli_simulate import host_source, on_host
from pdpanel.panel.config import read_config

from .test_cli import pdpanel


def test_the_list_names_what_is_shipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        on_host(read_config({}, state_dir=tmp_path), "list")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["hgx-8", "mi300x-8", "small-2"]
    assert list(tmp_path.iterdir()) == []


def test_a_real_host_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = read_config({}, state_dir=tmp_path)
    assert on_host(config, None) is config
    assert host_source(config, None, None).root is None
    assert capsys.readouterr() == ("", "")


def test_a_wrong_name_is_one_sentence_with_the_names(tmp_path: Path) -> None:
    done = pdpanel(tmp_path, "--simulate", "dgx", "status")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--simulate = 'dgx'" in done.stderr and "hgx-8, mi300x-8, small-2" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_probe_and_doctor_look_at_the_made_up_host_and_say_so(tmp_path: Path) -> None:
    done = pdpanel(tmp_path, "--simulate", "small-2", "probe", "--json")
    assert (done.returncode, done.stderr.split()[0]) == (0, "SIMULATED")
    document = json.loads(done.stdout)
    assert (document["host"]["name"], len(document["gpus"]), len(document["nics"])) == ("sim-small", 2, 1)
    told = pdpanel(tmp_path, "--simulate", "small-2", "doctor")
    assert "peermem-setting" in told.stdout and told.stderr.startswith("SIMULATED")
    own = tmp_path / "simulated" / "small-2"
    assert pdpanel(own, "topology").stderr.startswith("SIMULATED host small-2")  # whoever uses that folder is told


def test_another_engine_is_refused_and_its_export_is_marked(tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text("engine: sglang\nmodel: m\nprefill: {count: 1}\ndecode: {count: 1}\n")
    refused = pdpanel(tmp_path, "--simulate", "small-2", "up", str(file), "--yes")
    assert refused.returncode == 2
    assert "which starts only the bundled engine" in refused.stderr and "Traceback" not in refused.stderr
    out = tmp_path / "out"
    done = pdpanel(tmp_path, "--simulate", "small-2", "export", str(file), "-o", str(out))
    assert done.returncode == 0, done.stderr
    for path in out.rglob("*"):
        if path.is_file() and path.suffix != ".json":
            assert "SIMULATED host small-2" in path.read_text()[:500], path
