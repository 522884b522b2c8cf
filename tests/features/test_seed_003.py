"""Rows 95 to 122 of the feature table: SGLang with Mooncake, the second document."""

from __future__ import annotations

from typing import Any

import pytest
from feature_rows import all_of, doc, finding_ids, made, option, process, row
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.lint.lint import lint_text
from pdpanel.panel.recipes.catalog import find_recipe, render_recipe
from pdpanel.presets import load_preset

PAIR: dict[str, Any] = {
    "engine": "sglang",
    "model": "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
    "workers": {"tp": 2},
    "prefill": {"count": 1, "hosts": ["192.168.0.137"], "bootstrap_port": 8998},
    "decode": {"count": 1, "hosts": ["192.168.0.140"]},
    "router": {"policy": "round_robin", "host": "0.0.0.0", "port": 8000},
    "observe": False,
    "rpc_ports": None,
}
EP: dict[str, Any] = {
    **PAIR,
    "model": "deepseek-ai/DeepSeek-V3-0324",
    "workers": {"tp": 8, "attn_dp": 8, "elastic_ep": "mooncake", "moe_a2a": "mooncake"},
    "engine_version": "0.5.23",
}
EPD: dict[str, Any] = {
    "engine": "sglang",
    "model": "Qwen/Qwen3-VL-8B-Instruct",
    "gpu_selection": "none",
    "prefill": {
        "count": 1,
        "tp": 1,
        "mem_fraction": 0.8,
        "chunked_prefill_size": 8192,
        "encoder_transfer": "mooncake",
    },
    "decode": {"count": 1},
    "encoder": {"count": 2, "encoder_transfer": "mooncake"},
    "observe": False,
}


@row(95, 105, kind="generator")
def test_today_needs_no_config_file() -> None:
    plan = made(PAIR)
    assert plan.files == ()
    assert option(process(plan, "decode-0").argv, "--host") == "192.168.0.140"
    assert option(process(plan, "prefill-0").argv, "--disaggregation-ib-device") is None


@row(96, kind="sentence")
def test_the_claim_stands_with_its_conditions() -> None:
    text = doc("docs/pd-serving.md")
    assert "-29.8%" in text and "A10" in text and "3.6 times" in text and "not a gain in throughput" in text


@row(97, kind="generator")
def test_install_by_the_major_of_cuda() -> None:
    argv = [
        " ".join(command.argv)
        for command in render_recipe(find_recipe("install"), ["targets=sglang", "accelerator=cuda12"]).commands
    ]
    assert any("cu129" in words for words in argv) and any("torch==2.11.0" in words for words in argv)


@row(98, kind="generator")
def test_devices_by_list_and_by_gpu() -> None:
    listed = process(made({**PAIR, "nics": ["mlx5_0", "mlx5_1"]}), "prefill-0").argv
    assert option(listed, "--disaggregation-ib-device") == "mlx5_0,mlx5_1"
    mapped = process(made({**PAIR, "nics": {"0": ["mlx5_0"], "1": ["mlx5_1"]}}), "prefill-0").argv
    assert "mlx5_1" in (option(mapped, "--disaggregation-ib-device") or "")
    with pytest.raises(ConfigError, match="1"):
        made({**PAIR, "nics": {"0": ["mlx5_0"]}})


@row(99, 106, kind="generator")
def test_one_node_shares_its_gpus() -> None:
    argv = process(made({**PAIR, "decode": {"count": 1, "hosts": ["192.168.0.137"]}}), "decode-0").argv
    assert (option(argv, "--base-gpu-id"), option(argv, "--port"), option(argv, "--tp-size")) == ("2", "30001", "2")


@row(100, 101, 103, 104, kind="generator")
def test_the_routers_command() -> None:
    argv = process(made(PAIR), "router").argv
    assert argv[1:4] == ("-m", "sglang_router.launch_router", "--pd-disaggregation")
    place = argv.index("--prefill")
    assert argv[place + 1 : place + 3] == ("http://192.168.0.137:30000", "8998")
    assert (option(argv, "--policy"), option(argv, "--host"), option(argv, "--port")) == (
        "round_robin",
        "0.0.0.0",
        "8000",
    )
    with pytest.raises(ConfigError, match="policy"):
        made({**PAIR, "router": {"policy": "fastest"}})


@row(102, 107, 108, kind="generator")
def test_every_decode_worker_has_an_option_of_its_own() -> None:
    plan = made({**PAIR, "decode": {"count": 2, "hosts": ["192.168.0.137", "192.168.0.140"]}})
    urls = ["http://192.168.0.137:30001", "http://192.168.0.140:30001"]
    assert all_of(process(plan, "router").argv, "--decode") == urls
    report = lint_text(f"python3 -m sglang_router.launch_router --pd-disaggregation --decode {','.join(urls)}")
    assert report.findings and report.corrected is not None
    assert report.corrected.count("--decode") == 2


@row(109, kind="check")
def test_several_prefill_workers_of_a_node_have_ports_of_their_own() -> None:
    plan = made({**PAIR, "prefill": {"count": 2, "hosts": ["192.168.0.137"]}})
    ports = [process(plan, f"prefill-{index}").ports["bootstrap"] for index in range(2)]
    assert len(set(ports)) == 2
    same = "python -m sglang.launch_server --model-path m --disaggregation-mode prefill --port {} --base-gpu-id {}"
    assert any(
        "bootstrap" in each.id for each in lint_text(f"{same.format(30000, 0)}\n{same.format(30002, 1)}").findings
    )


@row(110, kind="generator")
def test_models_from_modelscope() -> None:
    assert made({**PAIR, "modelscope": True}).env["SGLANG_USE_MODELSCOPE"] == "true"


@row(111, 112, 114, kind="generator")
def test_experts_over_mooncake() -> None:
    plan = made({**EP, "nics": ["mlx5_0"]})
    argv = process(plan, "prefill-0").argv
    assert (option(argv, "--elastic-ep-backend"), option(argv, "--moe-a2a-backend")) == ("mooncake", "mooncake")
    assert option(argv, "--mooncake-ib-device") == option(argv, "--disaggregation-ib-device") == "mlx5_0"
    assert any("0.3.11" in finding.reason + finding.remedy for finding in plan.findings)


@row(113, kind="check")
def test_the_documents_example_asks_for_sixty_four_gpus() -> None:
    literal = {
        **EP,
        "engine_version": "",
        "workers": {"tp": 8, "dp": 8, "elastic_ep": "mooncake", "moe_a2a": "mooncake"},
    }
    assert option(process(made(literal), "prefill-0").argv, "--dp-size") == "8"
    with pytest.raises(ConfigError, match="64"):
        made({**literal, "hosts": {"192.168.0.137": {"gpus": 8}, "192.168.0.140": {"gpus": 8}}})
    line = "python -m sglang.launch_server --model-path m --disaggregation-mode prefill --tp-size 8 --dp-size 8"
    report = lint_text(line + " --elastic-ep-backend mooncake --moe-a2a-backend mooncake")
    assert any("64" in finding.reason for finding in report.findings)


@row(115, 116, 117, 118, 119, 120, kind="generator")
def test_encoders_apart() -> None:
    plan = made(EPD)
    encoders = [spec for spec in plan.processes if spec.role.value == "encoder"]
    assert [option(spec.argv, "--port") for spec in encoders] == ["30002", "30003"]
    assert all("--encoder-only" in spec.argv and "--disaggregation-mode" not in spec.argv for spec in encoders)
    argv = process(plan, "prefill-0").argv
    place = argv.index("--encoder-urls")
    assert argv[place + 1 : place + 3] == ("http://127.0.0.1:30002", "http://127.0.0.1:30003")
    assert "--language-only" in argv and option(argv, "--encoder-transfer-backend") == "mooncake"
    assert (option(argv, "--mem-fraction-static"), option(argv, "--chunked-prefill-size")) == ("0.8", "8192")
    assert (option(argv, "--tp-size"), option(argv, "--tp")) == ("1", None)
    assert option(argv, "--disaggregation-transfer-backend") == "mooncake"


@row(121, kind="check")
def test_models_that_have_no_encoder_workers_are_named() -> None:
    remarks = made({**EPD, "model": "llava-hf/llava-1.5-7b-hf"}).findings
    assert any("llava" in f"{finding.subject} {finding.reason}".lower() for finding in remarks)
    assert "InternVL" in doc("docs/pd-serving.md")


@row(122, kind="preset")
def test_deepseek_is_a_preset() -> None:
    assert load_preset("p03-deepseek-v3-2p2d-nodes")["model"] == "deepseek-ai/DeepSeek-V3-0324"


def test_the_examples_have_no_error() -> None:
    for fields in (PAIR, EP, EPD):
        assert not [finding for finding in made(fields).findings if finding.severity is Severity.ERROR]
    assert "router-port" not in finding_ids(made(PAIR))
