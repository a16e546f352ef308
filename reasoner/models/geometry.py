"""A model's information, read from the files of a Hugging Face folder without loading any weights."""

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from reasoner.errors import EngineUnavailable, require
from reasoner.models.info import ModelInfo
from reasoner.system.files import parse_json, read_object

_LONGEST_HEADER = 100_000_000  # the limit that the safetensors format sets
_PACKED = {"I32", "U8"}  # several quantized weights share one element of these

# Some models have a list, one number per layer: that counts as unknown.
_Count = Annotated[int, BeforeValidator(lambda value: 0 if isinstance(value, list) else value), Field(ge=0)]


class _Config(BaseModel):
    """The fields of `config.json` that determine the cost of a token."""

    max_position_embeddings: _Count | None = None
    num_hidden_layers: _Count | None = None
    hidden_size: _Count | None = None
    num_attention_heads: _Count | None = None
    num_key_value_heads: _Count | None = None
    head_dim: _Count | None = None
    kv_lora_rank: _Count | None = None
    quantization_config: object = None


class _Tensor(BaseModel):
    """One entry of a safetensors header."""

    dtype: str
    shape: list[Annotated[int, Field(ge=0)]]


def read_model_info(folder: Path, *, name: str, kv_bytes_per_element: int = 2) -> ModelInfo:
    """The model in `folder`: geometry from `config.json`, parameters counted in the safetensors headers.

    Unknown fields are 0: parameters of weights packed several per element, KV heads of compressed KV caches (MLA). Tied
    embeddings are stored, and counted, once. The revision is that of the snapshot in a hub cache.

    Raises:
        EngineUnavailable: `config.json` is missing, or it or a safetensors header is malformed.
    """
    config = _read_config(folder / "config.json")
    heads = config.num_attention_heads or 0
    kv_heads = heads if config.num_key_value_heads is None else config.num_key_value_heads
    return ModelInfo(
        name=name,
        context=config.max_position_embeddings or 0,
        parameters=count_parameters(folder),
        layers=config.num_hidden_layers or 0,
        heads=heads,
        kv_heads=0 if config.kv_lora_rank else kv_heads,
        head_dim=config.head_dim or ((config.hidden_size or 0) // heads if heads else 0),
        kv_bytes_per_element=kv_bytes_per_element,
        revision=folder.name if folder.parent.name == "snapshots" else "",
    )


def sequences_that_fit(info: ModelInfo, *, kv_bytes: int, tokens: int) -> int:
    """How many sequences of `tokens` tokens, 1 or more, fit a KV cache of `kv_bytes` bytes without sharing.

    0 if none fits, or if the geometry is unknown.
    """
    require(tokens, "tokens", at_least=1)
    needed = info.kv_bytes_per_token * tokens
    return kv_bytes // needed if needed else 0


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


def count_parameters(folder: Path) -> int:
    """Parameters of the model in `folder`, by its safetensors headers; 0 if unknown.

    Raises:
        EngineUnavailable: a header is malformed.
    """
    total = 0
    for shard in _shards(folder):
        for tensor in _read_header(shard):
            if tensor.dtype in _PACKED:
                return 0
            total += math.prod(tensor.shape)
    return total


def _shards(folder: Path) -> list[Path]:
    """The safetensors files of the model; none if one of them is missing."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.exists():
        return [single]
    if not index.exists():
        return sorted(folder.glob("*.safetensors"))
    try:
        shards = [folder / file for file in sorted(set(read_object(index)["weight_map"].values()))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineUnavailable(f"malformed {index}: {type(error).__name__}: {error}") from error
    return shards if all(shard.exists() for shard in shards) else []


def _read_header(file: Path) -> list[_Tensor]:
    """The tensors of a safetensors file: 8 bytes of length, little-endian, then that much JSON."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > _LONGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = parse_json(opened.read(length))
        return [_Tensor.model_validate(entry) for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, AttributeError) as error:
        raise EngineUnavailable(f"malformed {file}: not a safetensors file") from error
