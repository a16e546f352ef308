"""The number type of a model on a CPU: bfloat16 if the processor supports it natively, else float32."""

from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from reasoner.errors import EngineUnavailable
from reasoner.models.geometry import is_quantized, stored_parameters
from reasoner.system.machine import cpu_flags, memory_gib

DType = Literal["auto", "bfloat16", "float16", "float32"]
"""The values of an engine's option `dtype`; "auto" is `default_dtype` on a CPU and the model's own type on a GPU."""
BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Bytes of one number."""
NATIVE_BFLOAT16: Final = ("avx512_bf16", "amx_bf16", "bf16")
"""CPU flags, of which one is enough: the first two on x86-64, the last on Arm."""


class DTypeChoice(NamedTuple):
    """A number type, and the reason for it."""

    dtype: Literal["bfloat16", "float32"]
    why: str


def default_dtype(folder: Path | None) -> DTypeChoice:
    """The fastest type for the model in `folder` on this machine; None is a model without local files.

    A processor without bfloat16 instructions converts every operand, which takes 3 to 5 times as long as float32. The
    model stays in bfloat16 if its weights do not fit the memory in 32 bits, or are quantized, as vLLM's kernels for
    those need 16 bits.
    """
    flags, gib = cpu_flags(), memory_gib()
    if native := next((flag for flag in NATIVE_BFLOAT16 if flag in flags), None):
        return DTypeChoice("bfloat16", f"this processor supports it natively ({native})")
    if folder and is_quantized(folder):
        return DTypeChoice("bfloat16", "the model is quantized, which needs 16 bits")
    needed = 0.0
    with suppress(EngineUnavailable):  # the start reports it
        needed = stored_parameters(folder).total * BYTES["float32"] / 2**30 if folder else 0.0
    if needed > gib:
        return DTypeChoice("bfloat16", f"slow on this processor, but float32 needs {needed:.1f} GiB of {gib:.1f}")
    return DTypeChoice("float32", "this processor has no bfloat16 instructions (avx512_bf16, amx_bf16 or Arm's bf16)")


def resolve_dtype(dtype: DType, folder: Path | None) -> Literal["bfloat16", "float16", "float32"]:
    """The number type of a model on this CPU."""
    return default_dtype(folder).dtype if dtype == "auto" else dtype
