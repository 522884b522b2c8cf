"""What the dialects of SGLang have to say about a deployment: the rules behind their findings.

Data, with one place per rule. Read by `sglang_checks`, `sglang_notes` and `sglang_legacy`; docs/findings.md lists them.
"""

from __future__ import annotations

from ...nic_probe.checks.check import Rule

__all__ = [
    "ASCEND_STORE",
    "ELASTIC_EP",
    "ENCODER_MODEL",
    "EXPERT_PARALLEL",
    "FORCED_TCP",
    "GPUS",
    "IGNORED",
    "LEGACY_VERSION",
    "PAIR_FLAGS",
    "QUEUES",
    "RULES",
    "VERSION",
]

_WHEEL = "SGLang 0.5.23: its argument parser"
_DOCUMENT = "SGLang's PD disaggregation document"

GPUS = Rule(
    "sglang-gpus-of-a-node",
    "A worker that needs more GPUs than a node has",
    "One copy of the model takes tp * pp GPUs, spread evenly over the worker's nodes. A node with more than 16 is not "
    "known.",
    (_WHEEL,),
)
FORCED_TCP = Rule(
    "sglang-forced-tcp",
    "TCP in place of RDMA is spelled by version",
    "The backend mooncake_tcp exists since 0.5.14. It is mooncake with MC_FORCE_TCP=1 and without the list of NICs, "
    "which is how older versions are told.",
    (_WHEEL,),
)
ELASTIC_EP = Rule(
    "sglang-elastic-ep",
    "Elastic experts over Mooncake need a recent Mooncake",
    "--elastic-ep-backend mooncake calls mooncake.pg.set_transfer_engine, which came with mooncake-transfer-engine "
    "0.3.11, and works with a pipeline of one stage.",
    (_WHEEL, "Mooncake's SGLang document"),
)
EXPERT_PARALLEL = Rule(
    "sglang-expert-parallel",
    "The all-to-all decides the expert parallel size",
    "With --moe-a2a-backend mooncake, SGLang sets the expert parallel size to tp, whatever --ep-size says.",
    (_WHEEL,),
)
ENCODER_MODEL = Rule(
    "sglang-encoder-model",
    "A model that SGLang cannot split into encoder and language model",
    "SGLang has a list of architectures for encoder disaggregation: Qwen2-VL to Qwen3.5, Qwen's Audio and Omni models, "
    "InternS2, Dots3-Note, Kimi-VL to K3, MiMoV2, GLM5Next, MiniMax-M3 and MuseSpark. LLaVA and InternVL, which "
    "Mooncake's document names, are not on it, and the server ends at its start.",
    (_WHEEL, "Mooncake's SGLang document"),
)
ASCEND_STORE = Rule(
    "sglang-ascend-store",
    "The config store of the transport ascend is not where prefill is",
    "The first rank of prefill opens the store at ASCEND_MF_STORE_URL, and all others connect to it, so the address "
    "has to be one of that rank's own host.",
    (_DOCUMENT,),
)
IGNORED = Rule(
    "sglang-ignored",
    "A setting that the chosen transport or role does not read",
    "Some settings belong to one transport or one role. Another one starts without a word and does "
    "not do what they say.",
    (_WHEEL, _DOCUMENT),
)
QUEUES = Rule(
    "sglang-transfer-queues",
    "Threads and queues of the KV transfer",
    "Prefill shares its transfer threads among its queues and ends at its start when there are fewer threads than "
    "queues. Without a number it takes between 4 and 12 threads, by the CPUs of the host.",
    (_DOCUMENT, _WHEEL),
)
PAIR_FLAGS = Rule(
    "sglang-pair-flags",
    "Options that prefill and decode must share",
    "Some options of the KV transfer change what both sides expect, so a deployment that gives them to one role alone "
    "fails at the first request or checks nothing.",
    (_WHEEL,),
)
VERSION = Rule(
    "sglang-version",
    "A version of SGLang that is older than these commands",
    "Before 0.4.5.post2 SGLang had no --disaggregation-ib-device, and 0.4.5.post1 alone reads a mooncake.json.",
    ("SGLang's wheels 0.4.5 to 0.5.23",),
)
LEGACY_VERSION = Rule(
    "sglang-legacy-version",
    "mooncake.json is read by one version of SGLang",
    "Of all wheels only 0.4.5.post1 reads MOONCAKE_CONFIG_PATH for disaggregation. Since 0.4.5.post2 workers find each "
    "other by P2PHANDSHAKE and take NICs by --disaggregation-ib-device, so a mooncake.json is never opened.",
    ("SGLang's wheels 0.4.5 to 0.5.23",),
)
RULES = (
    ASCEND_STORE,
    GPUS,
    FORCED_TCP,
    ELASTIC_EP,
    EXPERT_PARALLEL,
    ENCODER_MODEL,
    IGNORED,
    QUEUES,
    PAIR_FLAGS,
    VERSION,
    LEGACY_VERSION,
)
