"""The parameters that are counted against transformers' own modules, for small models of many families.

The modules lie on torch's meta device, so nothing is allocated. All matrices must be counted; of the vectors (norms,
biases) only some are.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from pdpanel.panel.sizing.model import facts_of_config
from transformers import AutoConfig, AutoModelForCausalLM

SMALL = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 704,
    "vocab_size": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"moe_intermediate_size": 96, "num_experts_per_tok": 2}
LATENT = {
    "num_key_value_heads": 8,
    "kv_lora_rank": 64,
    "q_lora_rank": 96,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "n_group": 1,
    "topk_group": 1,
}
DEEPSEEK = {**EXPERTS, **LATENT, "n_routed_experts": 16, "n_shared_experts": 1, "first_k_dense_replace": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"head_dim": 64},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen2_moe": {**EXPERTS, "num_experts": 8, "shared_expert_intermediate_size": 160},
    "qwen3_moe": {**EXPERTS, "num_experts": 8, "head_dim": 32, "mlp_only_layers": [1]},
    "deepseek_v2": {**DEEPSEEK, "q_lora_rank": None, "n_shared_experts": 2},
    "deepseek_v3": DEEPSEEK,
    "glm_moe_dsa": {**DEEPSEEK, "index_topk": 64, "index_head_dim": 32, "index_n_heads": 4},
    "glm4_moe": {**EXPERTS, "head_dim": 32, "n_routed_experts": 16, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "gpt_oss": {"head_dim": 32, "num_local_experts": 8, "num_experts_per_tok": 2},
    "minimax_m2": {"head_dim": 32, "num_local_experts": 8, "num_experts_per_tok": 2},
    "gemma": {"head_dim": 32},
    "gemma2": {"head_dim": 32},
    "gemma3_text": {"head_dim": 32},
    "phi": {},
    "phi3": {},
    "falcon": {"multi_query": True, "num_key_value_heads": None, "intermediate_size": None},
    "starcoder2": {},
    "smollm3": {},
    "llama4_text": {
        "head_dim": 32,
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 512,
        "interleave_moe_layer_step": 2,
    },
    "qwen3_next": {
        **EXPERTS,
        "head_dim": 64,
        "num_experts": 8,
        "shared_expert_intermediate_size": 96,
        "linear_num_value_heads": 8,
        "linear_num_key_heads": 4,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
    },
    "nemotron_h": {
        **EXPERTS,
        "hybrid_override_pattern": "MEM*-E",
        "head_dim": 32,
        "mamba_num_heads": 8,
        "mamba_head_dim": 32,
        "n_groups": 2,
        "ssm_state_size": 16,
        "n_routed_experts": 8,
        "moe_shared_expert_intermediate_size": 128,
        "n_shared_experts": 1,
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_matrix_is_counted(family: str) -> None:
    values = {key: value for key, value in (SMALL | FAMILIES[family]).items() if value is not None or key[0] == "q"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = AutoConfig.for_model(family, **values)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    # A tied table is one tensor under two names.
    tensors = {id(tensor): (name, tensor) for name, tensor in model.named_parameters()}.values()
    matrices = sum(tensor.numel() for name, tensor in tensors if tensor.ndim > 1 and not name.endswith("bias"))
    everything = sum(tensor.numel() for _, tensor in tensors)
    for written in (values | {"model_type": family}, config.to_dict()):
        assert matrices <= facts_of_config(written).parameters.value <= everything
