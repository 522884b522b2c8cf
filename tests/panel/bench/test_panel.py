"""The benchmark of the panel: what it shows to the panel, and, as a slow test, its shape from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pdpanel.panel.bench.panel_load import MadeUpLoad
from pdpanel.panel.bench.panel_source import LOADED, QUIET, STEP_VALUES, PanelSource
from pdpanel.panel.config import read_config
from pdpanel.panel.runs import Runs


@pytest.fixture
def source(tmp_path: Path) -> PanelSource:
    config = read_config(state_dir=tmp_path, cache_dir=tmp_path / "c", config_dir=tmp_path / "d")
    return PanelSource(Runs(config), tmp_path / "load", 32, 16)


def test_every_value_of_the_load_has_a_series_and_the_other_way_round() -> None:
    load = MadeUpLoad(
        [("prefill-0", "prefill"), ("decode-0", "decode"), ("router", "router")], [("prefill-0", "decode-0")]
    )
    series = {info.key: info for info in load.series()}
    assert load.values(1000.3).keys() == series.keys()
    assert all(info.group for info in series.values())
    assert load.values(1000.3) == load.values(1000.3)
    assert load.values(1000.3) != load.values(1000.8)
    unified = MadeUpLoad([("unified-0", "unified")], [])
    assert unified.values(5.0).keys() == {info.key for info in unified.series()}
    assert not any("kv_bytes" in info.key for info in unified.series())


def test_source_shows_runs_on_demand(source: PanelSource, tmp_path: Path) -> None:
    assert list(source.runs()) == []
    (tmp_path / "load").touch()
    loaded, quiet = source.runs()
    assert [len(run.processes) for run in (loaded, quiet)] == [32, 32]
    assert (loaded.id, quiet.id) == (LOADED, QUIET)
    assert {process.role for process in loaded.processes} == {"prefill", "decode", "router"}
    traffic = source.host_traffic()
    assert traffic is not None
    assert len(traffic.links) == 16


def test_source_samples_one_run(source: PanelSource) -> None:
    source._began = time.time() - 20
    batch = source.samples(LOADED, 0)
    assert 38 <= len(batch.rows) <= 42
    assert {values["run/kv_bytes_per_s"] for _, values in batch.rows} == set(STEP_VALUES)
    keys = {series.key for series in batch.series}
    assert {key for key in batch.rows[0][1] if key not in keys} <= {
        f"proc/prefill-{place}/generated_tokens_per_s" for place in range(15)
    }
    assert source.samples(LOADED, batch.last_seq).rows == ()
    assert source.samples(QUIET, 0).rows == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_short_form_prints_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pdpanel.panel.cli", "--state-dir", str(tmp_path), "bench", "panel"]
    said = subprocess.run(
        [*command, "--short", "--json", "--tabs", "3", "--processes", "6", "--nics", "2"],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    figures = [json.loads(line) for line in said.stdout.splitlines()]
    assert all(
        (figure["suite"] == "panel" and figure["value"] >= 0) or figure["metric"] == "CPU of the tab"
        for figure in figures
    )
    assert {"CPU of the server", "memory of the server", "sent to a tab", "CPU of the runner"} <= {
        figure["metric"] for figure in figures
    }
