"""A model's information, read from the files of a Hugging Face folder without loading any weights."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError

from reasoner.errors import EngineUnavailable, require
from reasoner.models.info import ModelInfo
from reasoner.models.parameters import Parameters, Storage, count_parameters, packed_bits
from reasoner.system.files import read_object

# Some models have a list, one number per layer: that counts as unknown.
_Count = Annotated[int, BeforeValidator(lambda value: 0 if isinstance(value, list) else value), Field(ge=0)]


PLAIN: Final = ("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe")
"""Models whose layers all cache the keys and values of all heads, unless they have a window; of others vLLM knows."""


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
    layer_types: object = None
    sliding_window: object = None
    use_sliding_window: object = None
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

    Unknown fields are 0. The KV caches are unknown unless all layers attend to all tokens in the same way. The revision
    is that of the snapshot in a hub cache.

    Raises:
        EngineUnavailable: `config.json` is missing, or it or a safetensors header is malformed.
    """
    config = _read_config(folder / "config.json")
    heads = config.num_attention_heads or 0
    kv_heads = heads if config.num_key_value_heads is None else config.num_key_value_heads
    head_dim = config.head_dim or ((config.hidden_size or 0) // heads if heads else 0)
    if config.kv_lora_rank:
        kv_heads = 0
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
        caches=None if _is_plain(config) else (),
    )


def _is_plain(config: _Config) -> bool:
    window = config.sliding_window if config.use_sliding_window is not False else None
    kinds = config.layer_types if isinstance(config.layer_types, list) else []
    return config.model_type in PLAIN and not window and all(kind == "full_attention" for kind in kinds)


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
