from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.doctor.command import parse_command, parse_script
from pdpanel.panel.doctor.worker import Engine, WorkerArguments, WorkerRole

GOLDEN = Path(__file__).resolve().parents[4] / "shared/golden/launch_commands.json"


def parsed(text: str) -> WorkerArguments:
    worker = parse_command(text)
    assert worker is not None
    return worker


@pytest.mark.parametrize(
    ("command", "engine", "role"),
    [
        ("python -m sglang.launch_server --model-path m", Engine.SGLANG, WorkerRole.UNIFIED),
        ("python3 -u -m sglang.launch_server --disaggregation-mode prefill", Engine.SGLANG, WorkerRole.PREFILL),
        ("sglang serve --model-path m --disaggregation-mode=decode", Engine.SGLANG, WorkerRole.DECODE),
        ("python -m sglang.launch_server --encoder-only", Engine.SGLANG, WorkerRole.ENCODER),
        ("vllm serve m --port 1", Engine.VLLM, WorkerRole.UNIFIED),
        ("python -m vllm.entrypoints.openai.api_server --model m", Engine.VLLM, WorkerRole.UNIFIED),
        ("""vllm serve m --kv-transfer-config '{"kv_role":"kv_producer"}'""", Engine.VLLM, WorkerRole.PREFILL),
        ("""vllm serve m --kv-transfer-config '{"kv_role":"kv_consumer"}'""", Engine.VLLM, WorkerRole.DECODE),
        ("""vllm serve m --kv-transfer-config '{"kv_role":"kv_both"}'""", Engine.VLLM, WorkerRole.UNKNOWN),
        ("docker run --gpus all vllm/vllm-openai:v0.10.0 --model m", Engine.VLLM, WorkerRole.UNIFIED),
        ("pdpanel.engine.launch_server", None, None),
        ("python -m pdpanel.engine.launch_server --disaggregation-mode decode", Engine.BUNDLED, WorkerRole.DECODE),
        ("python -m pdpanel.engine.launch_router --policy random", Engine.BUNDLED, WorkerRole.ROUTER),
        ("python -m sglang_router.launch_router --pd-disaggregation", Engine.SGLANG, WorkerRole.ROUTER),
        ("sglang-router --worker-urls http://a:1", Engine.SGLANG, WorkerRole.ROUTER),
        ("smg launch --port 1", Engine.SGLANG, WorkerRole.ROUTER),
        ("python -m sglang.srt.disaggregation.mini_lb --port 1", Engine.SGLANG, WorkerRole.ROUTER),
        ("python examples/x/mooncake_connector_proxy.py --port 1", Engine.VLLM, WorkerRole.ROUTER),
        ("etcd --listen-client-urls http://0.0.0.0:2379", Engine.OTHER, WorkerRole.METADATA),
        ("mooncake_master --port 50051", Engine.OTHER, WorkerRole.STORE),
        ("etcd is a key-value store", None, None),
        ("pkill -f sglang.launch_server", None, None),
        ("pip install sglang", None, None),
        ("curl http://127.0.0.1:30000/health", None, None),
        ("", None, None),
    ],
)
def test_programs_are_known(command: str, engine: Engine | None, role: WorkerRole | None) -> None:
    worker = parse_command(command)
    assert (worker and worker.engine, worker and worker.role) == (engine, role)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "nohup ",
        "sudo -E ",
        "exec ",
        "CUDA_VISIBLE_DEVICES=1 ",
        "env A=1 ",
        "numactl --cpunodebind=0 --membind=0 ",
        "srun -N 1 -n 1 --nodelist=node1 ",
        "timeout 600 ",
        "docker run --gpus all --shm-size 32g -v /a:/b --rm lmsysorg/sglang:v0.5.9 ",
        "/opt/venv/bin/",
    ],
)
def test_what_stands_before_the_program_is_passed(prefix: str) -> None:
    worker = parsed(f"{prefix}python -m sglang.launch_server --model-path m --tp 2 --port 30000")
    assert worker.values == {"model_path": "m", "tp_size": "2", "port": "30000"}


@pytest.mark.parametrize(
    "shell", ["bash -c", "sh -lc", "/bin/bash -ec", "docker run x bash -c", "srun bash -c", "ssh node1"]
)
def test_a_command_inside_a_shell_is_found(shell: str) -> None:
    worker = parsed(f"A=1 {shell} 'cd /x && B=2 python -m sglang.launch_server --port 7'")
    assert worker.get("port") == "7"
    assert worker.env == {"A": "1", "B": "2"}


def test_variables_of_docker_are_the_workers() -> None:
    worker = parsed("docker run -e A=1 --env B=2 --env=C=3 lmsysorg/sglang:v0.5.9.post1 python -m sglang.launch_server")
    assert worker.env == {"A": "1", "B": "2", "C": "3"}
    assert worker.version == "0.5.9.post1"


def test_secrets_are_masked() -> None:
    worker = parsed("HF_TOKEN=hf_abc python -m sglang.launch_server --api-key s3cret --max-total-tokens 64")
    assert "hf_abc" not in str(worker)
    assert "s3cret" not in str(worker)
    assert worker.get("max_total_tokens") == "64"


def test_options_in_every_form() -> None:
    worker = parsed(
        "python -m sglang.launch_server --model=m --tp=2 --chunked-prefill-size -1 --encoder-urls http://a http://b "
        "--enable-metrics --mem_fraction_static 0.8 --port 1 --port 2 --nccl-init-addr 10.0.0.1:5000"
    )
    assert worker.values == {
        "model_path": "m",
        "tp_size": "2",
        "chunked_prefill_size": "-1",
        "encoder_urls": "http://a,http://b",
        "enable_metrics": "true",
        "mem_fraction_static": "0.8",
        "port": "2",
        "dist_init_addr": "10.0.0.1:5000",
    }
    assert [flag.value for flag in worker.all_of("port")] == ["1", "2"]


def test_names_of_vllm_become_the_common_ones() -> None:
    worker = parsed(
        "VLLM_MOONCAKE_BOOTSTRAP_PORT=8999 vllm serve org/m -tp 2 --block-size 32 --max-model-len 4096 "
        """--kv-transfer-config '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer","""
        """"kv_connector_extra_config":{"device_name":"mlx5_0"}}' --trust-remote-code"""
    )
    assert worker.get("model_path") == "org/m"
    assert worker.get("tp_size") == "2"
    assert worker.get("page_size") == "32"
    assert worker.get("context_length") == "4096"
    assert worker.get("disaggregation_transfer_backend") == "MooncakeConnector"
    assert worker.get("disaggregation_ib_device") == "mlx5_0"
    assert worker.get("disaggregation_bootstrap_port") == "8999"


def test_a_switch_does_not_take_the_model() -> None:
    assert parsed("vllm serve --trust-remote-code org/m --port 1").get("model_path") == "org/m"


def test_no_switches_a_switch_off() -> None:
    assert parsed("vllm serve m --no-enable-prefix-caching").get("enable_prefix_caching") == "false"


def test_processes_of_a_script_get_names_of_their_role() -> None:
    script = (
        "python -m sglang.launch_server --disaggregation-mode prefill &\n"
        "python -m sglang.launch_server --disaggregation-mode prefill &\n"
        "echo waiting\n"
        "python -m sglang.launch_server --disaggregation-mode decode\n"
    )
    workers = parse_script(script, "run.sh")
    assert [worker.name for worker in workers] == ["prefill-0", "prefill-1", "decode-0"]
    assert [worker.source for worker in workers] == ["run.sh:1", "run.sh:2", "run.sh:4"]


@pytest.mark.skipif(not GOLDEN.exists(), reason="shared/golden is not there")
def test_the_golden_commands_are_read() -> None:
    for case in json.loads(GOLDEN.read_text()):
        for command in case["commands"]:
            role = command["role"]
            if role not in {"prefill", "decode", "router", "encoder", "metadata"} or command["argv"][0].startswith("-"):
                continue
            worker = parse_command(command["argv"])
            assert worker is not None, command
            assert worker.role.value == role


@given(st.lists(st.text(max_size=20), max_size=8) | st.text(max_size=200))
def test_no_command_raises(command: list[str] | str) -> None:
    parse_command(command)


@given(st.lists(st.text(max_size=20), max_size=8))
def test_no_options_raise(options: list[str]) -> None:
    for start in (["python", "-m", "sglang.launch_server"], ["vllm", "serve"], ["bash", "-c"]):
        parse_command([*start, *options])
        parse_command([*start, "--kv-transfer-config", *options])
