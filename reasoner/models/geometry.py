"""What a model computes with, from the files of its folder: its geometry, and its number type on a CPU."""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError

from reasoner.errors import EngineUnavailable
from reasoner.models.info import ModelInfo
from reasoner.system.files import parse_json, read_object
from reasoner.system.machine import cpu_flags, memory_gib

_LAYER = re.compile(
    r"^(?:language_model\.)?(?:model|backbone)\.(?:language_model\.)?layers\.(\d+)\."
)


_VISION = re.compile(
    r"(^|\.)(vision_tower|vision_model|visual|multi_modal_projector)\."
)
"""What a token of text does not pass through."""

# Some models have a list, one number per layer: that counts as unknown.
_Count = Annotated[
    int,
    BeforeValidator(lambda value: 0 if isinstance(value, list) else value),
    Field(ge=0),
]


PLAIN: Final = (
    "gemma3_text",
    "gpt_oss",
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
)
"""Models that cache all heads in all layers, of all tokens or of a window; the cost of others is unknown."""
ATTENTION: Final = frozenset(("full_attention", "sliding_attention"))
"""The kinds of layers that such models name."""


class _Config(BaseModel):
    """The fields of `config.json` that determine the cost of a token."""

    model_type: object = None
    max_position_embeddings: _Count | None = None
    num_hidden_layers: _Count | None = None
    hidden_size: _Count | None = None
    num_attention_heads: _Count | None = None
    num_key_value_heads: _Count | None = None
    head_dim: _Count | None = Field(
        None, validation_alias=AliasChoices("head_dim", "attention_head_dim")
    )
    layer_types: object = None
    sliding_window: _Count | None = None
    use_sliding_window: object = None
    experts: _Count | None = Field(
        None,
        validation_alias=AliasChoices(
            "num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"
        ),
    )
    experts_per_token: _Count | None = Field(
        None,
        validation_alias=AliasChoices(
            "num_experts_per_tok",
            "experts_per_token",
            "moe_topk",
            "moe_k",
            "top_k_experts",
        ),
    )
    quantization_config: object = None

    @property
    def routed(self) -> Fraction:
        """The share of the parameters of all experts that a token passes through."""
        if self.experts and self.experts_per_token:
            return min(Fraction(1), Fraction(self.experts_per_token, self.experts))
        return Fraction(1)


def read_model_info(
    folder: Path, *, name: str, kv_bytes_per_element: int = 2
) -> ModelInfo:
    """The model in `folder`: geometry from `config.json`, parameters counted in the safetensors headers.

    Unknown fields are 0. The revision is the snapshot's in a hub cache.

    Raises:
        EngineUnavailable: `config.json` is missing, or it or a safetensors header is malformed.
    """
    config = _read_config(folder / "config.json")
    heads = config.num_attention_heads or 0
    kv_heads = (
        heads if config.num_key_value_heads is None else config.num_key_value_heads
    )
    head_dim = config.head_dim or ((config.hidden_size or 0) // heads if heads else 0)
    total, active = _count(folder, config)
    windowed = _windowed_layers(config)
    return ModelInfo(
        name=name,
        context=config.max_position_embeddings or 0,
        parameters=total,
        layers=config.num_hidden_layers or 0,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        kv_bytes_per_element=kv_bytes_per_element,
        revision=folder.name if folder.parent.name == "snapshots" else "",
        active_parameters=active if active != total else 0,
        plain=windowed is not None,
        windowed_layers=windowed or 0,
        window=(config.sliding_window or 0) if windowed else 0,
    )


def _windowed_layers(config: _Config) -> int | None:
    """How many layers see a window of the latest tokens alone; None where the cost of a token is unknown."""
    window = config.sliding_window if config.use_sliding_window is not False else None
    kinds = config.layer_types if isinstance(config.layer_types, list) else []
    if config.model_type not in PLAIN or {*kinds} - ATTENTION:
        return None
    if kinds or not window:
        count = kinds.count("sliding_attention")
        return count if window or not count else None
    # Where a model may leave its window out, the config does not say in which layers it has one.
    return None if config.use_sliding_window else config.num_hidden_layers


def _read_config(file: Path) -> _Config:
    try:
        fields = read_object(file)
        # Multimodal models have the geometry of the language model in `text_config`.
        return _Config.model_validate({**fields, **(fields.get("text_config") or {})})
    except FileNotFoundError as error:
        raise EngineUnavailable(
            f"no {file}: --model takes a folder that holds config.json"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        given = f"{first['loc'][0]}={first['input']!r:.80}"
        raise EngineUnavailable(
            f"malformed {file}: {given} must be a whole number, at least 0"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise EngineUnavailable(f"malformed {file}: {error}") from error


class _Tensor(BaseModel):
    """One entry of a safetensors header."""

    dtype: str
    shape: list[Annotated[int, Field(ge=0)]]


def _count(folder: Path, config: _Config) -> tuple[int, int]:
    """The number of parameters of the model in `folder`, and of those that one token passes through; 0 means unknown.

    They are unknown where packed weights are stored. Tied embeddings count once.
    """
    total, active = 0, Fraction(0)
    for shard in _shards(folder):
        for name, tensor in _tensors(shard):
            layer = _LAYER.match(name)
            extra = (
                layer
                and config.num_hidden_layers
                and int(layer[1]) >= config.num_hidden_layers
            )
            # The prefix of extra layers that predict several tokens. Some models number them after the
            # others instead.
            if extra or name.startswith("mtp."):
                continue
            if config.quantization_config is not None:
                # Types of elements that hold several quantized weights each
                if tensor.dtype in ("I32", "U8"):
                    return 0, 0
                if "scale" in name.rpartition(".")[2]:
                    continue
            count = math.prod(tensor.shape)
            total += count
            if not _VISION.search(name):
                routed = re.search(r"(^|\.)experts\.", name)
                active += count * config.routed if routed else count
    return total, round(active)


def _shards(folder: Path) -> list[Path]:
    """The safetensors files of the model; none if one of them is missing."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.exists():
        return [single]
    if not index.exists():
        return sorted(folder.glob("*.safetensors"))
    try:
        shards = [
            folder / file
            for file in sorted(set(read_object(index)["weight_map"].values()))
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineUnavailable(
            f"malformed {index}: {type(error).__name__}: {error}"
        ) from error
    return shards if all(shard.exists() for shard in shards) else []


def _tensors(file: Path) -> Iterator[tuple[str, _Tensor]]:
    """The tensors of a safetensors file by name: 8 bytes of length, little-endian, then that much JSON."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > 100_000_000:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = parse_json(opened.read(length))
        entries = [
            (name, _Tensor.model_validate(entry))
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (OSError, ValueError, AttributeError) as error:
        raise EngineUnavailable(f"malformed {file}: not a safetensors file") from error
    yield from entries


DType = Literal["auto", "bfloat16", "float16", "float32"]
"""The values of an engine's option `dtype`; "auto" is `default_dtype` on a CPU and the model's own type on a GPU."""
BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Bytes of one number."""


class DTypeChoice(NamedTuple):
    """A number type, and the reason for it."""

    dtype: Literal["bfloat16", "float32"]
    why: str


def default_dtype(folder: Path | None) -> DTypeChoice:
    """The number type for the model in `folder` on this processor; None is a model without local files.

    Without instructions for bfloat16, every operand is converted. The model stays in bfloat16 all the same if its
    weights do not fit the memory in 32 bits, or are quantized, as vLLM's kernels for those need 16 bits.
    """
    # CPU flags; one is enough: the first two on x86-64, the last on Arm
    native = next(
        (flag for flag in ("avx512_bf16", "amx_bf16", "bf16") if flag in cpu_flags()),
        None,
    )
    if native:
        return DTypeChoice(
            "bfloat16", f"this processor supports it natively ({native})"
        )
    if folder:
        config, needed, gib = _read_config(folder / "config.json"), 0.0, memory_gib()
        if config.quantization_config is not None:
            return DTypeChoice(
                "bfloat16", "the model is quantized, which needs 16 bits"
            )
        with suppress(EngineUnavailable):  # the start reports it
            needed = _count(folder, config)[0] * BYTES["float32"] / 2**30
        if needed > gib:
            return DTypeChoice(
                "bfloat16",
                f"slow on this processor, but float32 needs {needed:.1f} GiB of {gib:.1f}",
            )
    return DTypeChoice(
        "float32",
        "this processor has no bfloat16 instructions (avx512_bf16, amx_bf16 or Arm's bf16)",
    )
