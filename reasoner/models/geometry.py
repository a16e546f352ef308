"""A model's information, read from the files of a Hugging Face folder without loading any weights."""

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError

from reasoner.errors import EngineUnavailable, require
from reasoner.models.info import CachedLayers, ModelInfo
from reasoner.models.parameters import Parameters, Storage, count_parameters, packed_bits
from reasoner.system.files import read_object

# Some models have a list, one number per layer: that counts as unknown.
_Count = Annotated[int, BeforeValidator(lambda value: 0 if isinstance(value, list) else value), Field(ge=0)]


def _texts(value: Any) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else []


_Names = Annotated[list[str], BeforeValidator(_texts)]

_Kind = Literal["full", "window", "shared", "none"]
"""What a layer caches: all tokens, those in a window, what another layer caches, or none."""
_SLIDING_INTERVALS: Final = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4, "llama4_text": 4}
"""Models whose config may leave out that every n-th layer attends to all tokens and the others to a window."""
_NO_CACHE: Final = ("linear", "mamba", "recurrent", "conv", "mlp", "moe", "rwkv")
"""Parts of the names of kinds of layers that keep no keys and values."""


class _Config(BaseModel):
    """The fields of `config.json` that determine the cost of a token."""

    model_type: object = None
    max_position_embeddings: _Count | None = None
    num_hidden_layers: _Count | None = None
    hidden_size: _Count | None = None
    num_attention_heads: _Count | None = None
    num_key_value_heads: _Count | None = None
    head_dim: _Count | None = Field(None, validation_alias=AliasChoices("head_dim", "attention_head_dim"))
    kv_lora_rank: _Count | None = None
    qk_nope_head_dim: _Count | None = None
    qk_rope_head_dim: _Count | None = None
    v_head_dim: _Count | None = None
    layer_types: _Names = Field([], validation_alias=AliasChoices("layer_types", "layers_block_type"))
    hybrid_override_pattern: object = None
    full_attention_interval: _Count | None = None
    attn_layer_period: _Count | None = None
    sliding_window: _Count | None = Field(None, validation_alias=AliasChoices("sliding_window", "attention_chunk_size"))
    sliding_window_pattern: object = None
    use_sliding_window: object = None
    max_window_layers: _Count | None = None
    num_kv_shared_layers: _Count | None = None
    experts: _Count | None = Field(
        None, validation_alias=AliasChoices("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts")
    )
    experts_per_token: _Count | None = Field(
        None,
        validation_alias=AliasChoices("num_experts_per_tok", "experts_per_token", "moe_topk", "moe_k", "top_k_experts"),
    )
    quantization_config: object = None


def read_model_info(folder: Path, *, name: str, kv_bytes_per_element: int = 2) -> ModelInfo:
    """The model in `folder`: geometry from `config.json`, parameters counted in the safetensors headers.

    Unknown fields are 0. Kinds of layers that the config does not state count as full attention, and the states of
    recurrent layers as nothing. The revision is that of the snapshot in a hub cache.

    Raises:
        EngineUnavailable: `config.json` is missing, or it or a safetensors header is malformed.
    """
    config = _read_config(folder / "config.json")
    heads = config.num_attention_heads or 0
    kv_heads = heads if config.num_key_value_heads is None else config.num_key_value_heads
    head_dim = config.head_dim or ((config.hidden_size or 0) // heads if heads else 0)
    width = 2 * kv_heads * head_dim
    if config.kv_lora_rank:
        kv_heads, width = 0, config.kv_lora_rank + config.qk_rope_head_dim if config.qk_rope_head_dim else 0
        key = (config.qk_nope_head_dim or 0) + (config.qk_rope_head_dim or 0)
        head_dim = (key + config.v_head_dim) // 2 if config.v_head_dim else head_dim
    parameters = count_parameters(folder, _storage(config))
    return ModelInfo(
        name=name,
        context=config.max_position_embeddings or 0,
        parameters=parameters.total,
        layers=config.num_hidden_layers or 0,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        kv_bytes_per_element=kv_bytes_per_element,
        revision=folder.name if folder.parent.name == "snapshots" else "",
        active_parameters=parameters.active if parameters.active != parameters.total else 0,
        caches=_caches(config, width * kv_bytes_per_element) if width else (),
    )


def _caches(config: _Config, size: int) -> tuple[CachedLayers, ...]:
    """The layers with a KV cache of `size` bytes per token; empty where all layers keep all keys and values."""
    count = Counter(_kinds(config))
    if not config.kv_lora_rank and set(count) <= {"full"}:
        return ()
    groups = (
        CachedLayers(count["full"], size),
        CachedLayers(count["window"], size, config.sliding_window or 0),
        CachedLayers(count["shared"], 0),
    )
    return tuple(group for group in groups if group.layers)


def _kinds(config: _Config) -> list[_Kind]:
    """What each layer caches."""
    layers = config.num_hidden_layers or 0
    kinds = [_kind(text, config) for text in _names(config, layers)][:layers]
    if config.num_kv_shared_layers:
        own = max(0, layers - config.num_kv_shared_layers)
        kinds[own:] = ["shared"] * len(kinds[own:])
    return kinds


def _kind(name: str, config: _Config) -> _Kind:
    if any(part in name for part in _NO_CACHE):
        return "none"
    return "window" if config.sliding_window and ("sliding" in name or "chunked" in name) else "full"


def _names(config: _Config, layers: int) -> list[str]:
    """The kind of each layer, in the words of `layer_types`, however the config states it."""
    if config.layer_types:
        return config.layer_types
    if isinstance(config.hybrid_override_pattern, str):
        return ["full" if letter == "*" else "mamba" for letter in config.hybrid_override_pattern]
    period, other = config.full_attention_interval or config.attn_layer_period, "linear"
    window = config.sliding_window if config.use_sliding_window is not False else None
    if window and not period:
        pattern, other = config.sliding_window_pattern, "sliding"
        period = pattern if isinstance(pattern, int) else _SLIDING_INTERVALS.get(str(config.model_type))
        if not period:
            full = config.max_window_layers if config.use_sliding_window else None
            return ["full"] * (full or 0) + ["sliding"] * (layers - (full or 0))
    if not period:
        return ["full"] * layers
    return ["full" if number % period == 0 else other for number in range(1, layers + 1)]


def _storage(config: _Config) -> Storage:
    routed = Fraction(1)
    if config.experts and config.experts_per_token:
        routed = min(routed, Fraction(config.experts_per_token, config.experts))
    return Storage(
        quantized=config.quantization_config is not None,
        bits=packed_bits(config.quantization_config),
        routed=routed,
        layers=config.num_hidden_layers or 0,
    )


def sequences_that_fit(info: ModelInfo, *, kv_bytes: int, tokens: int) -> int:
    """How many sequences of `tokens` tokens, 1 or more, fit a KV cache of `kv_bytes` bytes without sharing.

    0 if none fits, or if the geometry is unknown.
    """
    require(tokens, "tokens", at_least=1)
    needed = info.kv_bytes(tokens)
    return kv_bytes // needed if needed else 0


def stored_parameters(folder: Path) -> Parameters:
    """The parameters of the model in `folder`, by its `config.json` and its safetensors headers.

    Raises:
        EngineUnavailable: as `read_model_info`.
    """
    return count_parameters(folder, _storage(_read_config(folder / "config.json")))


def _read_config(file: Path) -> _Config:
    try:
        fields = read_object(file)
        # Multimodal models have the geometry of the language model in `text_config`.
        return _Config.model_validate({**fields, **(fields.get("text_config") or {})})
    except FileNotFoundError as error:
        raise EngineUnavailable(f"no {file}: --model takes a folder that holds config.json") from error
    except ValidationError as error:
        first = error.errors()[0]
        given = f"{first['loc'][0]}={first['input']!r:.80}"
        raise EngineUnavailable(f"malformed {file}: {given} must be a whole number, at least 0") from error
    except (OSError, ValueError, TypeError) as error:
        raise EngineUnavailable(f"malformed {file}: {error}") from error


def is_quantized(folder: Path) -> bool:
    """Whether the model in `folder` holds quantized weights, by its `config.json`.

    Raises:
        EngineUnavailable: as `read_model_info`.
    """
    return _read_config(folder / "config.json").quantization_config is not None
