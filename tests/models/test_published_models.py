"""The cost of published models, from the fields of their `config.json` and the shapes of their weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reasoner.calibration.planning import fit
from reasoner.models.geometry import read_model_info
from reasoner.models.info import CachedLayers, ModelInfo

GPT_OSS_20B = {
    "model_type": "gpt_oss",
    "num_hidden_layers": 24,
    "hidden_size": 2880,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "experts_per_token": 4,
    "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
}
GEMMA_3_12B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 48,
        "hidden_size": 3840,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "sliding_window": 1024,
    },
}
QWEN3_NEXT_80B = {
    "model_type": "qwen3_next",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "full_attention_interval": 4,
    "num_experts": 512,
    "num_experts_per_tok": 10,
}
NEMOTRON_H_8B = {
    "model_type": "nemotron_h",
    "num_hidden_layers": 52,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "attention_head_dim": 128,
    "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "num_nextn_predict_layers": 1,
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
}
QWEN3_30B_A3B = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "sliding_window": None,
    "use_sliding_window": False,
    "max_window_layers": 48,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}
QWEN2_7B = {
    "model_type": "qwen2",
    "num_hidden_layers": 28,
    "hidden_size": 3584,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "use_sliding_window": False,
    "max_window_layers": 28,
}
MISTRAL_7B = {
    "model_type": "mistral",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
}
GEMMA_3N_E4B = {
    "text_config": {
        "num_hidden_layers": 35,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "sliding_window": 512,
        "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 7,
        "num_kv_shared_layers": 15,
    }
}
JAMBA = {
    "model_type": "jamba",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "attn_layer_period": 8,
    "attn_layer_offset": 4,
    "sliding_window": None,
}

Shapes = Mapping[str, tuple[str, list[int]]]
"""The number type and the shape of each tensor by name."""


def write_model(folder: Path, config: Mapping[str, Any], tensors: Shapes | None = None) -> Path:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if tensors is not None:
        header = {
            name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, (dtype, shape) in tensors.items()
        }
        encoded = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(len(encoded).to_bytes(8, "little") + encoded)
    return folder


@pytest.mark.parametrize(
    ("config", "attention", "long", "at_2048"),
    [
        # Half the layers keep 2 x 8 heads x 64 x 2 bytes for every token, the other half for the last 128.
        (GPT_OSS_20B, "GQA", 24_576, 24_576 * (2048 + 128)),
        # Every sixth layer keeps all tokens, 40 keep the last 1,024.
        (GEMMA_3_12B, "GQA", 65_536, 65_536 * 2048 + 40 * 8192 * 1024),
        (QWEN3_NEXT_80B, "GQA", 24_576, 24_576 * 2048),
        (NEMOTRON_H_8B, "GQA", 16_384, 16_384 * 2048),
        # One compressed row of 512 + 64 numbers in each of 61 layers.
        (DEEPSEEK_V3, "MLA", 70_272, 70_272 * 2048),
        (QWEN3_30B_A3B, "GQA", 98_304, 98_304 * 2048),
        (QWEN2_7B, "GQA", 57_344, 57_344 * 2048),
        # All layers have a window that 2,048 tokens do not fill.
        (MISTRAL_7B, "GQA", 131_072, 131_072 * 2048),
        # The first 20 layers keep tokens, 4 of them all; the others read what those keep.
        (GEMMA_3N_E4B, "GQA", 4 * 2048, 4 * 2048 * 2048 + 16 * 2048 * 512),
        (JAMBA, "GQA", 16_384, 16_384 * 2048),
    ],
)
def test_kv_bytes(config: dict[str, Any], attention: str, long: int, at_2048: int, tmp_path: Path) -> None:
    info = read_model_info(write_model(tmp_path, config), name="m")
    assert (info.attention, info.kv_bytes_per_token, info.kv_bytes(2048)) == (attention, long, at_2048)
    half = read_model_info(tmp_path, name="m", kv_bytes_per_element=1)
    assert (half.kv_bytes_per_token, half.kv_bytes(2048)) == (long // 2, at_2048 // 2)


def test_a_window_bounds_the_cache_and_the_attention_of_its_layers() -> None:
    wide = ModelInfo("m", parameters=1, layers=2, heads=1, kv_heads=1, head_dim=1)
    mixed = ModelInfo("m", parameters=1, layers=2, heads=1, head_dim=1, caches=(CachedLayers(2, 4, 10),))
    assert [mixed.kv_bytes(tokens) for tokens in (1, 10, 11, 1000)] == [8, 80, 80, 80]
    for before, after in ((0, 10), (0, 11), (5, 40), (20, 21)):
        # Every token attends to at most 10: the line of the longest stretch inside the window, then 10 each.
        inside = wide.flops(prompt=min(after, 10), cached=min(before, 10), generated=0)
        beyond = max(after - max(before, 10), 0)
        assert inside is not None
        assert mixed.flops(prompt=after, cached=before, generated=0) == inside + beyond * (2 + 4 * 2 * 10)


@pytest.mark.parametrize("prompt", [0, 5, 10, 100])
def test_sequences_of_a_shared_prompt_have_their_own_windows(prompt: int) -> None:
    info = ModelInfo("m", layers=3, heads=1, kv_heads=1, caches=(CachedLayers(1, 10), CachedLayers(2, 10, 8)))
    windows = 20 * min(prompt + 5, 8)
    found = fit(info, kv_bytes=10_000, own=5, prompt=prompt, samples=1000)
    assert found.apart == 10_000 // (10 * (prompt + 5) + windows)
    assert found.shared == (10_000 - 10 * prompt) // (50 + windows)


def qwen3_moe() -> Shapes:
    hidden, width, tensors = 2048, 768, {"model.embed_tokens.weight": [151936, 2048], "lm_head.weight": [151936, 2048]}
    for layer in range(48):
        head = f"model.layers.{layer}"
        tensors[f"{head}.self_attn.q_proj.weight"] = [4096, hidden]
        tensors[f"{head}.self_attn.k_proj.weight"] = tensors[f"{head}.self_attn.v_proj.weight"] = [512, hidden]
        tensors[f"{head}.self_attn.o_proj.weight"] = [hidden, 4096]
        tensors[f"{head}.mlp.gate.weight"] = [128, hidden]
        for expert in range(128):
            for name in ("gate_proj", "up_proj", "down_proj"):
                tensors[f"{head}.mlp.experts.{expert}.{name}.weight"] = [width, hidden]
    return {name: ("BF16", shape) for name, shape in tensors.items()}


def test_a_token_of_a_mixture_of_experts_passes_through_few_of_them(tmp_path: Path) -> None:
    info = read_model_info(write_model(tmp_path, QWEN3_30B_A3B, qwen3_moe()), name="Qwen3-30B-A3B")
    outside = 2 * 151936 * 2048 + 48 * (2 * 4096 + 2 * 512 + 128) * 2048
    experts = 48 * 128 * 3 * 768 * 2048
    assert (info.parameters, info.active_parameters) == (outside + experts, outside + experts * 8 // 128)
    assert info.parameters == pytest.approx(30.5e9, rel=0.01)
    flops = info.flops(prompt=1, cached=0, generated=0)
    assert flops == pytest.approx(6.7e9, rel=0.01)


def test_shared_experts_serve_every_token_and_extra_layers_none(tmp_path: Path) -> None:
    tensors = {
        "model.layers.3.mlp.experts.0.up_proj.weight": ("F8_E4M3", [256, 4]),
        "model.layers.3.mlp.experts.0.up_proj.weight_scale_inv": ("F32", [2, 1]),
        "model.layers.3.mlp.shared_experts.up_proj.weight": ("F8_E4M3", [8, 4]),
        "model.layers.61.mlp.experts.0.up_proj.weight": ("F8_E4M3", [256, 4]),
        "model.layers.61.eh_proj.weight": ("BF16", [8, 4]),
    }
    info = read_model_info(write_model(tmp_path, DEEPSEEK_V3, tensors), name="m")
    assert (info.parameters, info.active_parameters) == (1024 + 32, 1024 * 8 // 256 + 32)


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}
GPTQ_3 = {"quant_method": "gptq", "bits": 3, "group_size": 128, "desc_act": True}
PACKED = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}
TWO_WIDTHS = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"num_bits": 4}}, "group_1": {"weights": {"num_bits": 8}}},
}
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}
NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4"}


@pytest.mark.parametrize(
    ("quantization", "tensors", "count"),
    [
        # A linear layer from 256 to 512 features: 131,072 weights, and a bias or norm of 512 that is not packed.
        (AWQ, {"qweight": ("I32", [256, 64]), "qzeros": ("I32", [2, 64]), "scales": ("F16", [2, 512])}, 131_072),
        (
            GPTQ_3,
            {"qweight": ("I32", [24, 512]), "qzeros": ("I32", [2, 48]), "g_idx": ("I32", [256])},
            131_072,
        ),
        (
            PACKED,
            {
                "weight_packed": ("I32", [512, 32]),
                "weight_shape": ("I64", [2]),
                "weight_scale": ("BF16", [512, 2]),
                "weight_zero_point": ("I32", [64, 2]),
            },
            131_072,
        ),
        (GPT_OSS_20B["quantization_config"], {"blocks": ("U8", [512, 8, 16]), "scales": ("U8", [512, 8])}, 131_072),
        (
            BNB,
            {
                "weight": ("U8", [65536, 1]),
                "weight.absmax": ("U8", [2048]),
                "weight.nested_quant_map": ("F32", [256]),
                "weight.quant_state.bitsandbytes__nf4": ("U8", [86]),
            },
            131_072,
        ),
        (NVFP4, {"weight": ("U8", [512, 128]), "weight_scale": ("F8_E4M3", [512, 16]), "weight_scale_2": ("F32", [])},
         131_072),
        ({"quant_method": "fp8"}, {"weight": ("F8_E4M3", [512, 256]), "weight_scale": ("F32", [])}, 131_072),
        (TWO_WIDTHS, {"weight_packed": ("I32", [512, 32])}, None),
        ({"quant_method": "aqlm"}, {"codes": ("U8", [512, 32])}, None),
        ("broken", {"qweight": ("I32", [256, 64])}, None),
    ],
)  # fmt: skip
def test_packed_weights_are_counted(
    quantization: Any, tensors: dict[str, tuple[str, list[int]]], count: int | None, tmp_path: Path
) -> None:
    named = {f"model.layers.0.mlp.up_proj.{name}": entry for name, entry in tensors.items()}
    config = {"num_hidden_layers": 1, "quantization_config": quantization}
    write_model(tmp_path, config, named | {"model.norm.weight": ("BF16", [512])})
    assert read_model_info(tmp_path, name="m").parameters == (0 if count is None else count + 512)
