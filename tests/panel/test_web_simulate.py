"""What a panel on a simulated host tells the page, and what of it leaves the panel with its mark."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pdpanel.panel.config import read_config
from pdpanel.panel.runs import Runs
from pdpanel.panel.simulate.prepare import prepare
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.source import RunsSource
from starlette.testclient import TestClient

TEXT = "engine: sglang\nmodel: m\nprefill: {count: 1}\ndecode: {count: 1}\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    config, _ = prepare(read_config({}, state_dir=tmp_path_factory.mktemp("state")), "small-2")
    with TestClient(build_api(RunsSource(Runs(config))), raise_server_exceptions=False) as client:
        yield client


def test_the_page_is_told_of_the_host_and_its_suggestion(client: TestClient) -> None:
    host = client.get("/api/simulation").json()["host"]
    assert (host["name"], host["prefill"], host["decode"], host["gpus"]) == ("small-2", 1, 1, 2)
    assert host["told"].startswith("SIMULATED host small-2")


def test_a_real_host_has_none(tmp_path: Path) -> None:
    source = RunsSource(Runs(read_config({}, state_dir=tmp_path)))
    assert (source.simulated, source.simulation) == (False, None)


def test_hardware_is_that_of_the_simulated_host_and_moves(client: TestClient) -> None:
    shown = client.get("/api/hardware").json()
    assert (shown["label"], shown["live"]) == ("SIMULATED host small-2", True)
    assert "SIMULATED" in shown["report"].splitlines()[0]
    assert [gpu["name"] for gpu in shown["document"]["gpus"]] == ["NVIDIA L40S"] * 2
    nics = client.get("/api/plan/nics").json()
    assert nics["map"] == {"0": ["mlx5_0"], "1": ["mlx5_0"]}


def test_the_start_of_another_engine_is_refused_in_a_sentence(client: TestClient) -> None:
    offer = client.post("/api/plan/offer", json={"text": TEXT}).json()
    assert any("sglang" in word for one in offer["processes"] for word in one["argv"])  # the plan is real
    assert "SIMULATED host small-2, which starts only the bundled engine" in offer["problem"]


def test_an_export_is_marked(client: TestClient) -> None:
    answer = client.post("/api/plan/export.zip", json={"text": TEXT, "format": "sh"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert texts and all("SIMULATED" in text[:500] for name, text in texts.items() if not name.endswith(".json"))
    assert all(json.loads(text) for name, text in texts.items() if name.endswith(".json"))
