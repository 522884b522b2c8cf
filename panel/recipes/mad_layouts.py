"""ROCm/MAD's scripts for SGLang with prefill and decode on Slurm: what differs between their generations. Data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLOCATED_ROUTER", "DEDICATED_PROXY", "LAYOUTS", "REPOSITORY", "Layout"]

REPOSITORY = "https://github.com/ROCm/MAD.git"


@dataclass(frozen=True, slots=True)
class Layout:
    """One generation of the scripts, named by where its router runs.

    Attributes:
        spare_nodes: nodes beyond those that compute.
        router_port: where the smoke test asks.
        prompt: what its documentation's smoke test asks.
        router_node: a name for the node of the router as long as no host is known.
        tests_on_submit: True when the router's host follows from the node list, so that the test can be written down
            at once; otherwise it runs in the proxy's container.
        parser: the script that reads a benchmark's log.
        models: the names that the Slurm script accepts.
        dp_models: the names that it accepts with DP_MODE=1; empty where there is no such mode.
        base_image: what the image is built from.
        context: the folder that `docker build` runs in, and what stands before the Dockerfile's name there.
        salloc: what `#SBATCH` lines say beyond the number of nodes, which salloc does not read.
        source: the commit and document that this is known from.
    """

    name: str
    spare_nodes: int
    router_port: int
    prompt: str
    router_node: str
    tests_on_submit: bool
    parser: str
    models: frozenset[str]
    dp_models: frozenset[str]
    base_image: str
    context: tuple[str, str]
    salloc: tuple[str, ...]
    source: str


_LIMITS = ("--ntasks-per-node=1", "--gres=gpu:8", "--time=24:00:00")
_BOTH_ACCEPT = (
    "Qwen3-32B",
    "Llama-3.1-8B-Instruct",
    "Llama-3.1-405B-Instruct-FP8-KV",
    "amd-Llama-3.3-70B-Instruct-FP8-KV",
)

DEDICATED_PROXY = Layout(
    name="dedicated-proxy",
    spare_nodes=1,
    router_port=30000,
    prompt="Let me tell you a story ",
    router_node="proxy",
    tests_on_submit=False,
    parser="benchmark_parser.py",
    models=frozenset((*_BOTH_ACCEPT, "Qwen3-30B-A3B", "Mixtral-8x7B-v0.1", "DeepSeek-V2")),
    dp_models=frozenset(),
    base_image="lmsysorg/sglang:v0.5.2rc1-rocm700-mi30x",
    context=("MAD/docker", ""),
    salloc=("--spread-job", *_LIMITS),
    source="ROCm/MAD 0f6d812; ROCm's SGLang and Mooncake document",
)
COLOCATED_ROUTER = Layout(
    name="colocated-router",
    spare_nodes=0,
    router_port=2322,
    prompt="Let me tell you a story",
    router_node="router",
    tests_on_submit=True,
    parser="parse_to_csv.py",
    models=frozenset((*_BOTH_ACCEPT, "Mixtral-8x7B-Instruct-v0.1", "DeepSeek-V3", "DeepSeek-R1")),
    dp_models=frozenset(("DeepSeek-V3", "DeepSeek-R1")),
    base_image="lmsysorg/sglang-rocm:v0.5.15.post1-rocm720-mi30x-20260718",
    context=("MAD", "docker/"),
    salloc=("--switches=2", *_LIMITS),
    source="ROCm/MAD 06ae766",
)
LAYOUTS = {layout.name: layout for layout in (DEDICATED_PROXY, COLOCATED_ROUTER)}
