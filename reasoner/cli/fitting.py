"""How many sequences of a profile's length a model's KV memory holds, for `reasoner plan`."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reasoner.errors import EngineError, UnknownName, UsageError, require

if TYPE_CHECKING:
    from reasoner.models.card import ModelCard
    from reasoner.types import Notify

KV_BYTES: Final[Mapping[str, int | None]] = {"auto": None, "float32": 4, "bfloat16": 2, "float8": 1}
"""Bytes of one number in the cache, by its type; "auto" is the type in which the model runs."""
LONGEST: Final = 10**9
"""Tokens that a prompt may have."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The options that decide what fits; None where one was not given."""

    model: str | None
    gib: float | None
    dtype: str
    context_tokens: int

    def __post_init__(self) -> None:
        if self.dtype not in KV_BYTES:
            raise UnknownName("KV dtype", self.dtype, KV_BYTES)
        require(self.gib, "--kv-gib", above=0, at_most=2**30)
        require(self.context_tokens, "--context-tokens", at_least=0, at_most=LONGEST)

    def holding(self, measured: str, sequence: float, samples: int, say: "Notify") -> dict[str, Any] | None:
        """What fits of sequences this long, with so many samples a question, as a document.

        `measured` is the profile's model, which is meant where none was given. None where the size of the cache is
        unknown, as on a GPU, and nothing was asked.

        Raises:
            UsageError: the model that was given does not exist.
        """
        gib = self.gib or _taken_by_default()
        if gib is None and self.model is None:
            return None
        try:
            card = self._card(measured, say)
        except (EngineError, UsageError) as error:
            if isinstance(error, UsageError) and self.model is not None:
                raise
            return {"model": self.model or measured, "trouble": f"unknown: {error}"}
        if gib is None:
            return {"model": card.name, "trouble": "unknown on a GPU: give --kv-gib"}
        if not card.kv_bytes_per_token:
            return {"model": card.name, "trouble": f"unknown: {card.name} does not tell its layers and KV heads"}
        return self._fitting(card, gib, max(1, math.ceil(sequence)), samples)

    def _card(self, measured: str, say: "Notify") -> "ModelCard":
        from reasoner.models.embedded import EMBEDDED, EMBEDDED_NAME
        from reasoner.models.geometry import read_card
        from reasoner.models.resolve import resolve

        resolved = resolve(self.model or (EMBEDDED if measured == EMBEDDED_NAME else measured), say)
        # One folder has many paths, and a hub id may name what it holds: the last part decides.
        if Path(resolved.name).resolve().name != measured.rstrip("/").rpartition("/")[2]:
            say(f"warning: the profile was measured with {measured}, not {resolved.name}: calibrate that one")
        if resolved.folder is None:
            raise EngineError(f"{resolved.name} is not on this machine yet: vLLM fetches it at the first start")
        size = KV_BYTES[self.dtype] or _model_bytes(resolved.folder)
        return read_card(resolved.folder, name=resolved.name, kv_bytes_per_element=size)

    def _fitting(self, card: "ModelCard", gib: float, own: int, samples: int) -> dict[str, Any]:
        from reasoner.controller.planning import fit

        found = fit(card, kv_bytes=int(gib * 2**30), own=own, prompt=self.context_tokens, samples=samples)
        return {
            "model": card.name,
            "trouble": None,
            "attention": card.attention,
            "layers": card.layers,
            "query_heads": card.heads,
            "kv_heads": card.kv_heads,
            "head_dim": card.head_dim,
            "window": card.context or None,
            "bytes_per_element": card.kv_bytes_per_element,
            "bytes_per_token": card.kv_bytes_per_token,
            "gib": gib,
            "cache_tokens": found.tokens,
            "sequence_tokens": own,
            "context_tokens": self.context_tokens,
            "samples": samples,
            "fit": found.apart,
            "fit_sharing_prompt": found.shared,
        }


def lines(told: Mapping[str, Any] | None) -> Iterator[str]:
    """What `Memory.holding` found, for people."""
    if told is None:
        return
    if told["trouble"]:
        yield told["trouble"]
        return
    kind = f"{told['attention']}, {told['query_heads']} heads on {told['kv_heads']}, {told['layers']} layers"
    size = f"{told['bytes_per_token']:,} bytes a token ({kind})"
    yield f"{told['gib']:g} GiB hold {told['cache_tokens']:,} tokens of {told['model']}: {size}"
    length, prompt = told["sequence_tokens"] + told["context_tokens"], told["context_tokens"]
    shared = f"{told['fit_sharing_prompt']:,} if the {told['samples']} of a question share a prompt of {prompt:,}"
    yield f"{told['fit']:,} sequences of {length:,} tokens fit at once{f', {shared}' if prompt else ''}"
    if told["window"] and length > told["window"]:
        yield f"such a sequence is longer than the model's window of {told['window']:,} tokens"


def _model_bytes(folder: Path) -> int:
    """Bytes of one number of the model as the default engine runs it."""
    from reasoner.engines.vllm_build import installed_build
    from reasoner.models.dtype import BYTES, default_dtype

    build = installed_build()
    return BYTES[default_dtype(folder).dtype] if build and build.cpu else 2


def _taken_by_default() -> float | None:
    """GiB that the default engine takes for its cache on a CPU; None where vLLM is not such a build."""
    from reasoner.engines.vllm import VllmEngine
    from reasoner.engines.vllm_build import installed_build

    build = installed_build()
    return VllmEngine().kv_gib if build and build.cpu else None
