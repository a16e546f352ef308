"""The cost of published models, from the fields of their `config.json` and the shapes of their weights."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reasoner.models.geometry import read_model_info
from reasoner.models.info import CachedLayers, ModelInfo

PUBLISHED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "published.json").read_text())
"""Fields of `config.json` of published models."""
QWEN3_30B_A3B, DEEPSEEK_V3 = PUBLISHED["Qwen3-30B-A3B"], PUBLISHED["DeepSeek-V3"]

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


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_cache_of_a_model_is_exact_or_unknown_before_it_runs(name: str, tmp_path: Path) -> None:
    info = read_model_info(write_model(tmp_path, PUBLISHED[name]), name="m")
    # 2 x KV heads x 128 numbers x 2 bytes in each layer.
    known = {
        "Qwen3-8B": (36, 4096),
        "Qwen3-30B-A3B": (48, 2048),
        "Llama-3.1-8B": (32, 4096),
        "Mixtral-8x7B-v0.1": (32, 4096),
    }
    assert info.cached_layers == ((CachedLayers(*known[name]),) if name in known else ())
    assert info.kv_bytes_per_token == math.prod(known.get(name, (0,)))
    assert (info.flops(prompt=1, cached=0, generated=1) is None) or name in known


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
        (PUBLISHED["gpt-oss-20b"]["quantization_config"], {"blocks": ("U8", [512, 8, 16]), "scales": ("U8", [512, 8])}, 131_072),
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
