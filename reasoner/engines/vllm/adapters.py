"""LoRA adapters on a CPU, repaired: a request without an adapter gets none where another one of its batch has one.

vLLM marks such rows by the index -1, which its operations for a CPU read as the last adapter (vllm-project/vllm#48421).
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu


def repair_adapters() -> None:
    """Replace vLLM's operations in this process, once."""
    for name in ("bgmv_expand", "bgmv_expand_slice"):
        own = getattr(lora_ops, name)
        if not hasattr(own, "__wrapped__"):
            for module in (lora_ops, punica_cpu):
                setattr(module, name, _for_adapted_rows(own))


def _for_adapted_rows(expand: Callable[..., None]) -> Callable[..., None]:
    @wraps(expand)
    def repaired(inputs: Any, weights: Any, outputs: Any, adapters: Any, *args: Any, **options: Any) -> None:
        adapted = inputs.masked_fill((adapters < 0)[:, None], 0)
        expand(adapted, weights, outputs, adapters, *args, **options)

    return repaired
