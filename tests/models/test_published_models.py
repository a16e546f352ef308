"""The cost of published models, from the fields of their `config.json` and the shapes of their weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reasoner.models.geometry import read_model_info

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
def test_the_kv_cache_of_a_model_is_exact_or_unknown(name: str, tmp_path: Path) -> None:
    # 2 x KV heads x 128 numbers x 2 bytes in each layer.
    plain = {
        "Qwen3-8B": 36 * 4096,
        "Qwen3-30B-A3B": 48 * 2048,
        "Llama-3.1-8B": 32 * 4096,
        "Mixtral-8x7B-v0.1": 32 * 4096,
    }
    info = read_model_info(write_model(tmp_path, PUBLISHED[name]), name="m")
    assert info.kv_bytes_per_token == plain.get(name, 0)
    assert (info.flops(prompt=1, cached=0, generated=1) is None) or name in plain


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


@pytest.mark.parametrize(
    ("tensors", "count"),
    [
        ({"weight": ("F8_E4M3", [512, 256]), "weight_scale": ("F32", [])}, 131_072 + 512),
        ({"qweight": ("I32", [256, 64]), "scales": ("F16", [2, 512])}, 0),
        ({"blocks": ("U8", [512, 8, 16]), "scales": ("U8", [512, 8])}, 0),
    ],
)
def test_quantized_weights_are_counted_or_unknown(
    tensors: dict[str, tuple[str, list[int]]], count: int, tmp_path: Path
) -> None:
    named = {f"model.layers.0.mlp.up_proj.{name}": entry for name, entry in tensors.items()}
    config = {"num_hidden_layers": 1, "quantization_config": {}}
    write_model(tmp_path, config, named | {"model.norm.weight": ("BF16", [512])})
    assert read_model_info(tmp_path, name="m").parameters == count
