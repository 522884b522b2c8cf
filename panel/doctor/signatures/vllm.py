"""What vLLM and NIXL say about KV transfer and start."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

SIGNATURES = (
    Signature(
        Rule(
            "log-kv-config-refused",
            "vLLM refuses --kv-transfer-config",
            "kv_rank, kv_parallel_size, kv_buffer_size and kv_ip belong to vLLM V0. Today's KVTransferConfig forbids "
            "keys that it does not know.",
            ("vLLM source: KVTransferConfig", "vllm-project/vllm#19448"),
        ),
        Speaker.VLLM,
        Severity.ERROR,
        ("kvtransferconfig", "--kv-transfer-config", "kv_rank", "kv_parallel_size", "kv_buffer_size", "kv_ip"),
        r"validation errors? for \w{0,20}KVTransferConfig"
        r"|--kv-transfer-config[^\n]{0,160}(?:cannot be converted|invalid|error)"
        r"|\bunexpected keyword argument '(?P<key>kv_rank|kv_parallel_size|kv_buffer_size|kv_ip)"
        r"|\b(?P<key_2>kv_rank|kv_parallel_size|kv_buffer_size|kv_ip)\b[^\n]{0,40}(?:Extra inputs|not permitted"
        r"|[Uu]nexpected keyword|[Uu]nrecognized|[Uu]nknown)",
        "The KV transfer configuration has a key that this version of vLLM does not know ({key}).",
        'Write {{"kv_connector": "MooncakeConnector", "kv_role": "kv_producer"}} (decode: kv_consumer) and nothing of '
        "V0.",
    ),
    Signature(
        Rule(
            "log-mooncake-import",
            "The engine could not import Mooncake",
            "vLLM and SGLang only say that Mooncake should be installed, also when it is and a library of it does not "
            "load, such as libcudart of another CUDA major version.",
            ("vllm-project/vllm#42511", "kvcache-ai/Mooncake#1298"),
        ),
        Speaker.VLLM,
        Severity.ERROR,
        ("please install mooncake", "mooncake cannot be imported", "no module named 'mooncake"),
        r"Please install mooncake by following|Mooncake cannot be imported(?:: (?P<why>[^\n\"]{1,160}))?"
        r"|No module named 'mooncake",
        "Mooncake cannot be imported ({why}).",
        "Run python -c 'import mooncake.engine' and see what is missing; install mooncake-transfer-engine for CUDA "
        "12, "
        "mooncake-transfer-engine-cuda13 for CUDA 13, or mooncake-transfer-engine-non-cuda without a GPU.",
    ),
    Signature(
        Rule(
            "log-vllm-transfer",
            "vLLM's Mooncake connector could not send",
            "The engine returned an error for a batch of blocks; the requests fail on decode.",
            ("vllm-project/vllm#52636",),
        ),
        Speaker.VLLM,
        Severity.ERROR,
        ("mooncake transfer engine returned", "mooncake xfer", "mooncake sender thread"),
        r"Mooncake transfer engine returned (?P<code>-?\d+)|Error processing Mooncake xfer request"
        r"|Error in Mooncake sender thread",
        "Mooncake could not send KV blocks (code {code}).",
        "Look for Mooncake's own error before it, and whether decode lives.",
    ),
    Signature(
        Rule(
            "log-vllm-expired",
            "Requests expired before their KV was sent",
            "Decode waits VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT seconds (480) for prefill, and prefill frees blocks "
            "that nobody fetched.",
            ("vLLM documentation: MooncakeConnector",),
        ),
        Speaker.VLLM,
        Severity.ERROR,
        ("p side ready", "expired before sending", "kv expired"),
        r"Timeout waiting for P side ready|expired before sending on P side|KV expired",
        "Prefill was not ready in time, or decode did not fetch.",
        "Add prefill capacity; VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT sets the seconds.",
    ),
    Signature(
        Rule(
            "log-vllm-layout",
            "Prefill and decode cut the KV cache differently",
            "vLLM's connectors compare regions and ranks: tensor parallel sizes have to divide each other, and block "
            "size, type and layers have to agree.",
            ("llm-d/llm-d#2433", "llm-d/llm-d#2187"),
        ),
        Speaker.VLLM,
        Severity.ERROR,
        (
            "is not paired with",
            "not divisible",
            "kv region",
            "kv group count",
            "p num blocks",
            "< remote blocks",
            "compatibility hash",
        ),
        r"is not paired with P tp_rank|tensor parallel size \d+ is not divisible"
        r"|KV region (?:length mismatch|counts|length does not)"
        r"|KV group count mismatch|P num blocks less than D|local blocks\(\d+\) < remote blocks"
        r"|compatibility hash mismatch",
        "Prefill and decode disagree on tensor parallel size, block size, type or version.",
        "Give both the same --tensor-parallel-size, --block-size, --kv-cache-dtype and version of vLLM.",
    ),
    Signature(
        Rule(
            "log-vllm-bootstrap",
            "A vLLM prefill worker could not register",
            "Each prefill instance runs a bootstrap server on VLLM_MOONCAKE_BOOTSTRAP_PORT (8998). Two instances on "
            "one host need two ports.",
            ("vLLM documentation: MooncakeConnector", "ray-project/ray#63741"),
        ),
        Speaker.VLLM,
        Severity.ERROR,
        ("bootstrap server", "bootstrap registration attempt"),
        r"Failed to register [^\n]{1,300}bootstrap server|Bootstrap registration attempt \d+/\d+"
        r"|Error registering [^\n]{1,200}bootstrap server",
        "A worker could not register at its bootstrap server.",
        "Give each prefill instance of a host its own VLLM_MOONCAKE_BOOTSTRAP_PORT, and unset http_proxy.",
    ),
    Signature(
        Rule(
            "log-shm-broadcast",
            "A vLLM worker stands still",
            "The engine found no free block of shared memory for a minute: one of its workers hangs, in a collective "
            "or a kernel.",
            ("vllm-project/vllm#43060",),
        ),
        Speaker.VLLM,
        Severity.WARNING,
        ("shared memory broadcast block",),
        r"No available shared memory broadcast block found",
        "A worker of the engine has made no step for a minute.",
        "Look for NCCL errors and at the GPUs; a first start that compiles may do this for a while.",
    ),
    Signature(
        Rule(
            "log-nixl-peer-lost",
            "A NIXL peer is gone",
            "NIXL reports a peer whose process ended. A restarted peer of the same name has to be removed before it "
            "is added again.",
            ("measured with NIXL 1.5.1",),
        ),
        Speaker.NIXL,
        Severity.ERROR,
        ("nixl",),
        r"nixlRemoteDisconnectError|NIXL_ERR_REMOTE_DISCONNECT|nixlNotAllowedError",
        "The NIXL connection to a peer ended.",
        "See in the peer's log whether it died; restart the pair.",
    ),
    Signature(
        Rule(
            "log-nixl-backend",
            "NIXL's backend failed",
            "UCX found no way between the two, or a plugin is missing.",
            ("measured with NIXL 1.5.1", "ai-dynamo/nixl#909"),
        ),
        Speaker.NIXL,
        Severity.ERROR,
        ("nixl", "ucx"),
        r"nixlBackendError|NIXL_ERR_BACKEND|NIXL backend '[^'\n]{1,40}' not found|UCX\s+ERROR|Please install NIXL",
        "NIXL's transport does not work here.",
        "Check UCX_TLS and UCX_NET_DEVICES, and that the plugin is installed; UCX_LOG_LEVEL=info shows what it tries.",
    ),
)
