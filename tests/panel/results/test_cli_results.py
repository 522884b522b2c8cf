"""The command over files: what it prints and returns. Its place on the command line is tested with the others."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel import cli_results
from pdpanel.panel.cli_results import parse_logs

from .excerpts import SGLANG, VLLM
from .test_mad import TODAY


@pytest.fixture
def sglang(tmp_path: Path) -> Path:
    path = tmp_path / "sglang.log"
    path.write_text(SGLANG)
    return path


@pytest.fixture
def vllm(tmp_path: Path) -> Path:
    path = tmp_path / "vllm.log"
    path.write_text(VLLM)
    return path


def test_files_are_compared_in_one_table(sglang: Path, vllm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_logs([sglang, vllm], as_json=False, as_csv=False) == 0
    shown = capsys.readouterr()
    rows = [line for line in shown.out.splitlines() if line.startswith("  ") and ".log" in line]
    assert ["sglang.log" in rows[0], "vllm.log" in rows[1]] == [True, True]
    assert "170.50" not in shown.out and "180.10 *" in rows[1] and "1591.83 *" in rows[1]
    assert "WARNING  results-failed-requests" in shown.out
    assert shown.err == ""


def test_json(sglang: Path, vllm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_logs([sglang, vllm], as_json=True, as_csv=False) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["engine"] for row in answer["results"]] == ["sglang", "vllm"]
    assert answer["results"][1]["best"] == ["output_tokens_per_s", "ttft_mean_ms"]
    assert [finding["id"] for finding in answer["findings"]] == ["results-failed-requests"]
    assert answer["counts"] == {"info": 0, "warning": 1, "error": 0, "unknown": 0}


def test_csv_is_alone_on_standard_output(sglang: Path, vllm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_logs([sglang, vllm], as_json=False, as_csv=True) == 0
    shown = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(shown.out)))
    assert [row["requests_successful"] for row in rows] == ["16", "998"]
    assert "results-failed-requests" in shown.err


def test_a_file_without_results_is_an_error(sglang: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.log"
    empty.write_bytes(b"")
    assert parse_logs([sglang, empty], as_json=False, as_csv=False) == 1
    assert "ERROR    results-none" in capsys.readouterr().out
    assert parse_logs([empty], as_json=True, as_csv=False) == 1
    assert json.loads(capsys.readouterr().out)["results"] == []


def test_a_sweep_s_name_tells_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "benchmark_77_20260101_000000_xP4_yD5_Mixtral_CONCURRENCY.log"
    path.write_text(TODAY)
    assert parse_logs([path], as_json=True, as_csv=False) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [(row["concurrency"], row["iteration"]) for row in rows] == [(8, 1), (8, 2), (512, 0)]
    assert (rows[2]["model"], rows[2]["prefill_workers"], rows[2]["decode_workers"]) == ("Mixtral", 4, 5)


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SGLANG.encode())))
    assert parse_logs([Path("-")], as_json=True, as_csv=False) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["source"] == "standard input"


def test_a_name_with_bytes_that_are_no_text_can_be_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "\udcff.log"
    path.write_text(SGLANG)
    assert parse_logs([path], as_json=False, as_csv=True) == 0
    assert "/?.log," in capsys.readouterr().out


def test_unusable_input_is_one_sentence(sglang: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        parse_logs([tmp_path / "nowhere.log"], as_json=False, as_csv=False)
    with pytest.raises(ConfigError, match="Is a directory"):
        parse_logs([tmp_path], as_json=False, as_csv=False)
    with pytest.raises(ConfigError, match="is not named"):
        parse_logs([], as_json=False, as_csv=False)
    with pytest.raises(ConfigError, match="choose one"):
        parse_logs([sglang], as_json=True, as_csv=True)
    monkeypatch.setattr(cli_results, "_MOST_BYTES", 10)
    with pytest.raises(ConfigError, match="is larger than"):
        parse_logs([sglang], as_json=False, as_csv=False)
