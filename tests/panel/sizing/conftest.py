"""Shapes of published models, as their config.json files give them, and what their makers say of their size.

Sources: the makers' config.json files, shortened to the keys that matter here (most of them as ai-dynamo/aiconfigurator
carries them, commit 095f58a), the model cards for the counts. Active counts hold the input and the output table; the
cards of DeepSeek V2 Lite (2.4), GLM 4.5 (32) and gpt-oss (5.1) leave the input table, or both, out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

Config = dict[str, Any]


def dense(layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, vocab: int, **more: Any) -> Config:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": ffn,
        "vocab_size": vocab,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        **more,
    }


FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
LATENT = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
DEEPSEEK_V3 = dense(
    61, 7168, 128, 128, 18432, 129280, **LATENT, q_lora_rank=1536, n_routed_experts=256, num_experts_per_tok=8,
    moe_intermediate_size=2048, n_shared_experts=1, first_k_dense_replace=3, moe_layer_freq=1,
    num_nextn_predict_layers=1, quantization_config=FP8, max_position_embeddings=163840,
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A model: its config, its parameters and those that a token passes in billions, its kind of attention."""

    config: Mapping[str, Any]
    total: float
    active: float
    attention: str


MODELS: dict[str, Published] = {
    "SmolLM2-135M": Published(
        dense(30, 576, 9, 3, 1536, 49152, tie_word_embeddings=True, max_position_embeddings=8192),
        0.1345, 0.1345, "GQA",
    ),
    "Llama-3.1-8B": Published(dense(32, 4096, 32, 8, 14336, 128256), 8.03, 8.03, "GQA"),
    "Llama-3.1-70B": Published(dense(80, 8192, 64, 8, 28672, 128256), 70.6, 70.6, "GQA"),
    "Llama-3.1-405B": Published(dense(126, 16384, 128, 8, 53248, 128256), 405.9, 405.9, "GQA"),
    "Mistral-7B-v0.1": Published(
        dense(32, 4096, 32, 8, 14336, 32000, sliding_window=4096), 7.24, 7.24, "GQA with sliding window"
    ),
    "Qwen2.5-7B": Published(
        dense(28, 3584, 28, 4, 18944, 152064, sliding_window=131072, use_sliding_window=False, max_window_layers=28),
        7.62, 7.62, "GQA",
    ),
    "Qwen3-8B": Published(dense(36, 4096, 32, 8, 12288, 151936, head_dim=128), 8.19, 8.19, "GQA"),
    "Qwen3-235B-A22B": Published(
        dense(94, 4096, 64, 4, 12288, 151936, head_dim=128, num_experts=128, num_experts_per_tok=8,
              moe_intermediate_size=1536, decoder_sparse_step=1, mlp_only_layers=[]),
        235, 22, "GQA",
    ),
    "Mixtral-8x7B": Published(
        dense(32, 4096, 32, 8, 14336, 32000, num_local_experts=8, num_experts_per_tok=2), 46.7, 12.9, "GQA"
    ),
    "DeepSeek-V3": Published(DEEPSEEK_V3, 671, 37.5, "MLA"),
    "DeepSeek-V2-Lite": Published(
        dense(27, 2048, 16, 16, 10944, 102400, **LATENT, q_lora_rank=None, n_routed_experts=64, num_experts_per_tok=6,
              moe_intermediate_size=1408, n_shared_experts=2, first_k_dense_replace=1),
        15.7, 2.66, "MLA",
    ),
    "Kimi-K2": Published(
        DEEPSEEK_V3 | {"num_attention_heads": 64, "n_routed_experts": 384, "first_k_dense_replace": 1,
                       "vocab_size": 163840},
        1026, 32.9, "MLA",
    ),
    "GLM-4.5": Published(
        dense(92, 5120, 96, 8, 12288, 151552, head_dim=128, n_routed_experts=160, num_experts_per_tok=8,
              moe_intermediate_size=1536, n_shared_experts=1, first_k_dense_replace=3),
        353, 33.6, "GQA",
    ),
    "gpt-oss-120b": Published(
        dense(36, 2880, 64, 8, 2880, 201088, head_dim=64, num_local_experts=128, num_experts_per_tok=4,
              sliding_window=128, layer_types=["sliding_attention", "full_attention"] * 18,
              quantization_config={"quant_method": "mxfp4"}),
        116.8, 5.7, "GQA with sliding window",
    ),
    "Gemma-2-9B": Published(
        dense(42, 3584, 16, 8, 14336, 256000, model_type="gemma2", head_dim=256, sliding_window=4096,
              hidden_act="gelu_pytorch_tanh"),
        9.24, 9.24, "GQA with sliding window",
    ),
    "Gemma-3-4B": Published(
        {"model_type": "gemma3", "torch_dtype": "bfloat16", "vision_config": {"hidden_size": 1152},
         "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
                         "num_hidden_layers": 34, "sliding_window": 1024}},
        3.88, 3.88, "GQA with sliding window",
    ),
    "Phi-3-mini": Published(
        dense(32, 3072, 32, 32, 8192, 32064, sliding_window=2047), 3.82, 3.82, "MHA with sliding window"
    ),
    "Phi-2": Published(
        dense(32, 2560, 32, 32, 10240, 51200, model_type="phi", hidden_act="gelu_new"), 2.78, 2.78, "MHA"
    ),
    "Falcon-7B": Published(
        {"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71, "num_hidden_layers": 32,
         "vocab_size": 65024, "multi_query": True, "torch_dtype": "bfloat16"},
        6.92, 6.92, "MQA",
    ),
    "Qwen3.5-397B-A17B": Published(
        {"text_config": dense(60, 4096, 32, 2, 0, 248320, head_dim=256, num_experts=512, num_experts_per_tok=10,
                              moe_intermediate_size=1024, shared_expert_intermediate_size=1024, attn_output_gate=True,
                              linear_num_value_heads=64, linear_num_key_heads=16, linear_key_head_dim=128,
                              linear_value_head_dim=128, linear_conv_kernel_dim=4, full_attention_interval=4)},
        397, 17.3, "GQA with linear attention",
    ),
    "Nemotron-3-Nano-30B-A3B": Published(
        dense(52, 2688, 32, 2, 1856, 131072, model_type="nemotron_h", head_dim=128, mlp_hidden_act="relu2",
              hybrid_override_pattern="MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", mamba_num_heads=64,
              mamba_head_dim=64, n_groups=8, ssm_state_size=128, conv_kernel=4, n_routed_experts=128,
              num_experts_per_tok=6, moe_intermediate_size=1856, moe_shared_expert_intermediate_size=3712,
              n_shared_experts=1),
        31.6, 3.6, "GQA with linear attention",
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def models() -> Mapping[str, Published]:
    """Published models by name."""
    return MODELS
