"""The cost of a model, from its `config.json` and the shapes of its weights; some are published ones."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import EngineUnavailable
from reasoner.models.geometry import read_model_info
from reasoner.models.info import ModelInfo

PUBLISHED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "published.json").read_text()
)
"""Fields of `config.json` of published models."""
SMOLLM = {
    "model_type": "llama",
    "max_position_embeddings": 8192,
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "rope_parameters": {"rope_theta": 100000.0},
}


def write_config(folder: Path, config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def write_safetensors(
    file: Path, tensors: Mapping[str, list[int] | tuple[str, list[int]]]
) -> None:
    """A file with these tensors: the shape of each, and its number type where that is not bfloat16."""
    typed = {
        name: entry if isinstance(entry, tuple) else ("BF16", entry)
        for name, entry in tensors.items()
    }
    entries = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}
        for name, (dtype, shape) in typed.items()
    }
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)


def without(*names: str) -> dict[str, Any]:
    return {key: value for key, value in SMOLLM.items() if key not in names}


def test_the_embedded_model(converted: Path) -> None:
    info = read_model_info(converted, name="SmolLM2-135M-Instruct")
    assert info == ModelInfo(
        name="SmolLM2-135M-Instruct",
        context=8192,
        parameters=134_515_008,
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
    )


@pytest.mark.parametrize(
    ("config", "kv_bytes"),
    [
        (SMOLLM, 23_040),
        (without("num_key_value_heads"), 3 * 23_040),
        (without("head_dim"), 23_040),
        ({"vision_config": {"num_hidden_layers": 5}, "text_config": SMOLLM}, 23_040),
        (
            {
                **SMOLLM,
                "model_type": "qwen3",
                "sliding_window": 64,
                "use_sliding_window": False,
            },
            23_040,
        ),
        ({**SMOLLM, "layer_types": ["full_attention"] * 29 + ["sliding_attention"]}, 0),
        ({**SMOLLM, "layer_types": ["linear_attention"] * 30}, 0),
        ({**SMOLLM, "num_key_value_heads": [3, 1, 3]}, 0),
        ({}, 0),
    ],
)
def test_kv_bytes_per_token(
    config: dict[str, Any], kv_bytes: int, tmp_path: Path
) -> None:
    info = read_model_info(write_config(tmp_path, config), name="m")
    assert info.kv_bytes_per_token == kv_bytes


def test_flops() -> None:
    info = ModelInfo(
        "m", parameters=2_030_000_000, layers=28, heads=16, kv_heads=8, head_dim=128
    )
    assert info.flops(prompt=200, cached=0, generated=1000) == pytest.approx(
        5.03715e12, rel=1e-6
    )
    assert info.flops(prompt=200, cached=192, generated=1000) == pytest.approx(
        4.25340e12, rel=2e-6
    )


@given(st.integers(1, 6), st.integers(0, 6), st.integers(1, 90), st.integers(0, 90))
def test_each_token_attends_to_those_in_the_window_of_a_layer(
    layers: int, windowed: int, window: int, generated: int
) -> None:
    windowed = min(windowed, layers)
    full = ModelInfo("m", parameters=1, layers=layers, heads=3, head_dim=5)
    partly = replace(full, windowed_layers=windowed, window=window)

    def missed(at: int) -> int:
        """Twice the earlier tokens that the token at this place cannot see, halves included."""
        return (2 * at + 1) - (2 * at + 1 - max(2 * (at - window) + 1, 0))

    pairs = sum(missed(at) for at in range(7, 40 + generated))
    every, seen = (
        info.flops(prompt=40, cached=7, generated=generated) or 0
        for info in (full, partly)
    )
    assert every - seen == 2 * 15 * windowed * pairs


def test_parameters_are_counted_over_all_shards_of_the_index(tmp_path: Path) -> None:
    write_config(tmp_path, SMOLLM)
    assert read_model_info(tmp_path, name="m").parameters == 0
    write_safetensors(tmp_path / "model-1.safetensors", {"embed": [10, 4], "norm": [4]})
    write_safetensors(tmp_path / "model-2.safetensors", {"mlp": [4, 3, 2], "scale": []})
    assert read_model_info(tmp_path, name="m").parameters == 40 + 4 + 24 + 1
    # The same weights once more, in another layout, as some repositories hold them.
    write_safetensors(tmp_path / "consolidated.safetensors", {"all": [69]})
    index = {
        "weight_map": {
            "embed": "model-1.safetensors",
            "norm": "model-1.safetensors",
            "mlp": "model-2.safetensors",
        }
    }
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps(index), encoding="utf-8"
    )
    assert read_model_info(tmp_path, name="m").parameters == 69
    (tmp_path / "model-2.safetensors").unlink()
    assert read_model_info(tmp_path, name="m").parameters == 0


def test_the_revision_is_the_snapshot_of_a_hub_cache(tmp_path: Path) -> None:
    assert (
        read_model_info(
            write_config(tmp_path / "snapshots" / "0a1b", SMOLLM), name="m"
        ).revision
        == "0a1b"
    )
    assert (
        read_model_info(write_config(tmp_path / "mine", SMOLLM), name="m").revision
        == ""
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 10**5, "nested too deeply"),
        ("[]", "malformed"),
        ('{"num_hidden_layers": "thirty"}', "num_hidden_layers='thirty'"),
    ],
)
def test_a_malformed_config_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(EngineUnavailable) as caught:
        read_model_info(tmp_path, name="m")
    assert said in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").unlink()
    with pytest.raises(EngineUnavailable, match=r"no .*config\.json: "):
        read_model_info(tmp_path, name="m")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        (2).to_bytes(8, "little") + b"[]",
        (2**40).to_bytes(8, "little"),
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
    ],
)
def test_a_file_that_is_no_safetensors_is_named(content: bytes, tmp_path: Path) -> None:
    write_config(tmp_path, SMOLLM)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(
        EngineUnavailable, match=r"model\.safetensors: not a safetensors file"
    ):
        read_model_info(tmp_path, name="m")


@pytest.mark.parametrize("text", ["{}", "[" * 10**5])
def test_a_malformed_index_is_named(text: str, tmp_path: Path) -> None:
    write_config(tmp_path, SMOLLM)
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(EngineUnavailable, match=r"malformed .*index\.json"):
        read_model_info(tmp_path, name="m")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_kv_cache_of_a_model_is_exact_or_unknown(name: str, tmp_path: Path) -> None:
    # 2 x KV heads x 128 numbers x 2 bytes in each layer.
    plain = {
        "Qwen3-8B": 36 * 4096,
        "Qwen3-30B-A3B": 48 * 2048,
        "Llama-3.1-8B": 32 * 4096,
        "Mixtral-8x7B-v0.1": 32 * 4096,
        "Mistral-7B-v0.1": 32 * 4096,
        "gpt-oss-20b": 24 * 2048,
        "gemma-3-12b-it": 48 * 8192,
    }
    info = read_model_info(write_config(tmp_path, PUBLISHED[name]), name="m")
    assert info.kv_bytes_per_token == plain.get(name, 0)
    assert (info.flops(prompt=1, cached=0, generated=1) is None) or name in plain


def test_shared_experts_serve_every_token_and_extra_layers_none(tmp_path: Path) -> None:
    tensors = {
        "model.layers.3.mlp.experts.0.up_proj.weight": ("F8_E4M3", [256, 4]),
        "model.layers.3.mlp.experts.0.up_proj.weight_scale_inv": ("F32", [2, 1]),
        "model.layers.3.mlp.shared_experts.up_proj.weight": ("F8_E4M3", [8, 4]),
        "model.layers.61.mlp.experts.0.up_proj.weight": ("F8_E4M3", [256, 4]),
        "model.layers.61.eh_proj.weight": ("BF16", [8, 4]),
    }
    write_safetensors(tmp_path / "model.safetensors", tensors)
    info = read_model_info(write_config(tmp_path, PUBLISHED["DeepSeek-V3"]), name="m")
    assert (info.parameters, info.active_parameters) == (
        1024 + 32,
        1024 * 8 // 256 + 32,
    )


@pytest.mark.parametrize(
    ("tensors", "count"),
    [
        (
            {"weight": ("F8_E4M3", [512, 256]), "weight_scale": ("F32", [])},
            131_072 + 512,
        ),
        ({"qweight": ("I32", [256, 64]), "scales": ("F16", [2, 512])}, 0),
        ({"blocks": ("U8", [512, 8, 16]), "scales": ("U8", [512, 8])}, 0),
    ],
)
def test_quantized_weights_are_counted_or_unknown(
    tensors: dict[str, tuple[str, list[int]]], count: int, tmp_path: Path
) -> None:
    named = {
        f"model.layers.0.mlp.up_proj.{name}": entry for name, entry in tensors.items()
    }
    write_safetensors(
        tmp_path / "model.safetensors", {**named, "model.norm.weight": [512]}
    )
    write_config(tmp_path, {"num_hidden_layers": 1, "quantization_config": {}})
    assert read_model_info(tmp_path, name="m").parameters == count
