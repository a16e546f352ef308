"""The parameters of a model, all and those that a token uses, counted in the headers of its safetensors files."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, Field

from reasoner.errors import EngineUnavailable
from reasoner.system.files import parse_json, read_object

_LONGEST_HEADER = 100_000_000  # the limit that the safetensors format sets
_PACKED: Final = {"I32": 32, "U8": 8}
"""Types whose elements hold several quantized weights, and their bits."""
_AUXILIARY = re.compile(
    r"(^|_)(scales?|scale_(inv|2|ub)|q?zeros|zero_point|g_idx|perm|shape|absmax|quant_map|weight_format|SCB)$"
    r"|^bitsandbytes__\w+$"
)
"""The last part of the names of tensors that quantization adds."""
_EXPERT = re.compile(r"(^|\.)experts\.")
_LAYER = re.compile(r"^(?:language_model\.)?(?:model|backbone)\.(?:language_model\.)?layers\.(\d+)\.")
_PREDICTORS = "mtp."
"""The prefix of extra layers that predict several tokens. Some models number them after the others instead."""


class Parameters(NamedTuple):
    """The number of parameters, and of those that one token passes through; 0 means unknown."""

    total: int = 0
    active: int = 0


@dataclass(frozen=True, slots=True)
class Storage:
    """How a checkpoint stores its weights, by `config.json`.

    `quantized` checkpoints have tensors beside their weights, such as scales. `bits` are those of a packed weight, 0 if
    unknown. A token passes through the share `routed` of the parameters of all experts. `layers` is how many layers
    are used, 0 for all in the checkpoint.
    """

    quantized: bool = False
    bits: int = 0
    routed: Fraction = Fraction(1)
    layers: int = 0


class _Tensor(BaseModel):
    """One entry of a safetensors header."""

    dtype: str
    shape: list[Annotated[int, Field(ge=0)]]


def packed_bits(quantization: Any) -> int:
    """Bits of a packed weight by the `quantization_config` of a `config.json`; 0 if unknown, or if they differ."""
    if not isinstance(quantization, dict):
        return 0
    for name in ("bits", "w_bit"):
        if isinstance(bits := quantization.get(name), int):
            return max(0, bits)
    algorithm = f"{quantization.get('quant_method')} {quantization.get('quant_algo')}".lower()
    if quantization.get("load_in_4bit") or "fp4" in algorithm:
        return 4
    groups = quantization.get("config_groups")
    entries = groups.values() if isinstance(groups, dict) else ()
    weights = [entry.get("weights") for entry in entries if isinstance(entry, dict)]
    widths: list[object] = [entry.get("num_bits") for entry in weights if isinstance(entry, dict)]
    match widths:
        case [int(first), *rest] if all(width == first for width in rest):
            return max(0, first)
    return 0


def count_parameters(folder: Path, storage: Storage) -> Parameters:
    """The parameters of the model in `folder`. Tied embeddings are stored, and counted, once.

    Raises:
        EngineUnavailable: a header is malformed.
    """
    total, active = 0, Fraction(0)
    for shard in _shards(folder):
        for name, tensor in _tensors(shard):
            count = _weights(name, tensor, storage)
            if count is None:
                return Parameters()
            total += count
            active += count * storage.routed if _EXPERT.search(name) else count
    return Parameters(total, round(active))


def _weights(name: str, tensor: _Tensor, storage: Storage) -> int | None:
    """How many weights a tensor holds; None if unknown."""
    layer = _LAYER.match(name)
    if name.startswith(_PREDICTORS) or (layer and storage.layers and int(layer[1]) >= storage.layers):
        return 0
    if storage.quantized and _AUXILIARY.search(name.rpartition(".")[2]):
        return 0
    elements = math.prod(tensor.shape)
    if tensor.dtype not in _PACKED:
        return elements
    return elements * _PACKED[tensor.dtype] // storage.bits if storage.bits else None


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


def _tensors(file: Path) -> Iterator[tuple[str, _Tensor]]:
    """The tensors of a safetensors file by name: 8 bytes of length, little-endian, then that much JSON."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > _LONGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = parse_json(opened.read(length))
        entries = [(name, _Tensor.model_validate(entry)) for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, AttributeError) as error:
        raise EngineUnavailable(f"malformed {file}: not a safetensors file") from error
    yield from entries
