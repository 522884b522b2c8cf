"""`pdpanel plan --suggest`: files in, text or JSON out, one sentence for bad input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.cli_sizing import DeviceOptions, LinkOptions, read_measured, read_model, suggest
from pdpanel.panel.sizing.split import Load

H100 = DeviceOptions("h100")
RDMA = LinkOptions()


@pytest.fixture
def folder(tmp_path: Path, models: Mapping[str, Any]) -> Path:
    """A model's folder with its config.json."""
    path = tmp_path / "llama"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(models["Llama-3.1-8B"].config))
    return path


@pytest.fixture
def small(tmp_path: Path, models: Mapping[str, Any]) -> Path:
    """The config.json of the model that the bundled engine was measured with."""
    path = tmp_path / "small.json"
    path.write_text(json.dumps(models["SmolLM2-135M"].config))
    return path


def test_a_folder_and_its_file_give_the_same_model(folder: Path) -> None:
    one, other = read_model(str(folder)), read_model(str(folder / "config.json"))
    assert one.name == "llama"
    assert one.parameters.value == other.parameters.value


def test_a_separate_quantisation_file_is_read(folder: Path) -> None:
    (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    assert read_model(str(folder)).precision.name == "fp4"
    assert read_model(str(folder), "fp8").precision.name == "fp8"


def test_text_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suggest(str(folder), 4, Load(1024, 128, 4), H100, RDMA)
    text = capsys.readouterr().out
    assert "llama on 4 GPUs: 4 requests/s" in text
    assert "3P1D" in text


def test_json_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suggest(str(folder), 4, Load(1024, 128), H100, LinkOptions(100, "tcp"), tp="1,2", keep=3, as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert len(data["splits"]) == 3
    assert data["fleet"] == {
        "gpus": 4,
        "tp_sizes": [1, 2],
        "links": {"rate_gbps": 100, "count": 1, "carrier": "tcp", "efficiency": None},
        "cores": None,
    }


def test_a_cpu_is_known_by_what_was_measured(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suggest(str(small), 2, Load(256, 64), DeviceOptions("cpu"), RDMA)
    assert "Measured: the bundled engine" in capsys.readouterr().out


def test_another_model_on_a_cpu_has_to_be_measured(folder: Path) -> None:
    with pytest.raises(ConfigError, match="--measured"):
        suggest(str(folder), 2, Load(256, 64), DeviceOptions("cpu"), RDMA)


def test_a_measurement_from_a_file(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "measured.json"
    path.write_text('{"prefill_tokens_per_s": 1000, "decode_tokens_per_s": {"8": 80, "1": 20}, "where": "our rack"}')
    assert read_measured(path).decode_tokens_per_s == ((1, 20.0), (8, 80.0))
    suggest(str(folder), 2, Load(256, 64), DeviceOptions(measured=str(path)), RDMA)
    assert "our rack" in capsys.readouterr().out


def test_a_device_by_what_it_reaches(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = DeviceOptions("own", tflops=100, memory_gbps=1000, memory_gib=48)
    suggest(str(folder), 2, Load(256, 64), device, RDMA)
    assert "OWN: as given" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["[]", "{", "null", '{"decode_tokens_per_s": {"1": 2}}', '{"prefill_tokens_per_s": 1}']
)
def test_a_file_without_speeds_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="--measured"):
        read_measured(path)


@pytest.mark.parametrize(
    ("device", "links", "tp", "field"),
    [
        (DeviceOptions(), RDMA, None, "--gpu"),
        (DeviceOptions("abacus"), RDMA, None, "--gpu"),
        (DeviceOptions("own", tflops=1), RDMA, None, "--tflops"),
        (DeviceOptions("own", tflops=1, memory_gbps=0, memory_gib=1), RDMA, None, "--tflops"),
        (DeviceOptions("h100", mem_fraction=2), RDMA, None, "--mem-fraction"),
        (H100, LinkOptions(transport="pigeon"), None, "--transport"),
        (H100, LinkOptions(-1), None, "--nic-gbps"),
        (H100, LinkOptions(efficiency=0), None, "--nic-efficiency"),
        (H100, RDMA, "one", "--tp"),
        (H100, RDMA, "", "--tp"),
        (H100, RDMA, "0", "--tp"),
    ],
)
def test_wrong_options_are_named(
    device: DeviceOptions, links: LinkOptions, tp: str | None, field: str, folder: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        suggest(str(folder), 4, Load(1024, 128), device, links, tp=tp)
    assert caught.value.field == field


def test_files_that_hold_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"hidden_size": ')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "large.json").write_text(" " * (8 << 20) + "{}")
    for name in ("broken.json", "deep.json", "large.json", "missing.json", "."):
        with pytest.raises(ConfigError, match="--model"):
            read_model(str(tmp_path / name))
