from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pdpanel.panel.cli import main

LLAMA = {
    "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 128256, "hidden_act": "silu", "torch_dtype": "bfloat16",
}  # fmt: skip
BUNDLED: dict[str, Any] = {
    "prefill": {"count": 1, "hosts": ["a"]},
    "decode": {"count": 2, "hosts": ["a", "b"]},
    "hosts": {"a": {"gpu": "H100", "nics": ["mlx5_0"], "nic_gbps": 400}, "b": {"nics": ["mlx5_0"], "nic_gbps": 400}},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return folder


def deployment(tmp_path: Path, model: str, **fields: Any) -> str:
    path = tmp_path / "d.yaml"
    path.write_text(yaml.safe_dump({"model": model, **BUNDLED, **fields}))
    return str(path)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patched:
        patched.setattr("sys.argv", ["pdpanel", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
    out, err = capsys.readouterr()
    return int(str(done.value.code or 0)), out, err


def test_the_table_says_who_runs_where(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = deployment(tmp_path, str(model))
    code, out, _ = run(["plan", path, "--prompt", "4000", "--output", "500", "--rate", "8"], capsys)
    assert code == 0
    rows = [line.split() for line in out.splitlines() if line.startswith(("  decode", "  prefill", "  router"))]
    assert {row[0]: row[1] for row in rows} == {"prefill-0": "a", "decode-0": "a", "decode-1": "b", "router": "a"}
    assert "Mooncake's RPC ports on 2 nodes: 15000 to 15015, on all addresses" in out
    assert "= 2 x 32 layers x 8 KV heads x 128 x 2 B" in out
    assert "tokens that fit" in out
    assert "The links carry it: each of the prefill NICs needs 4.194 GB/s of 35 GB/s" in out


def test_json_has_the_same(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = deployment(tmp_path, str(model))
    code, out, _ = run(["plan", path, "--json"], capsys)
    document = json.loads(out)
    assert code == 0
    assert document["rpc_ports"] == {"a": [15000, 15015], "b": [15000, 15015]}
    assert {row["process"]: row["ports"]["http"] for row in document["processes"]}["decode-1"] == 30000
    assert document["sizes"]["roles"][0]["figures"]["KV of one token"]["value"] == 131072
    assert document["sizes"]["transfer"] is None


def test_a_model_that_is_elsewhere_can_be_named(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = deployment(tmp_path, "meta/llama")
    code, out, _ = run(["plan", path], capsys)
    assert code == 0
    assert "The config.json of meta/llama is not here; name it with --config to see sizes." in out
    code, out, _ = run(["plan", path, "--config", str(model)], capsys)
    assert code == 0
    assert "weights on a GPU" in out


def test_suggest_ranks_splits(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load = ["--prompt", "4000", "--output", "500", "--gpus", "8", "--gpu", "h100"]
    code, out, _ = run(["plan", "--suggest", str(model), *load], capsys)
    assert code == 0
    assert "4P1D" in out and "8 GPUs" in out
    code, out, _ = run(["plan", "--suggest", str(model), *load, "--json", "--top", "3"], capsys)
    assert len(json.loads(out)["splits"]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan"], "name a deployment file, or a model with --suggest"),
        (["plan", "x.yaml", "--suggest", "m"], "--suggest = 'm': goes with no deployment file"),
        (["plan", "--suggest", "m", "--prompt", "10"], "--output = None: is missing"),
        (["plan", "none.yaml"], "No such file"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(arguments, capsys)
    assert code != 0
    assert out == ""
    assert said in err
    assert "Traceback" not in err
