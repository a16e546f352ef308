"""Emptying the prefix cache between runs that are compared."""

from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm_cores import InProcessCore


def empty_cache(engine: VllmEngine) -> None:
    """Forget all prefixes, in the thread that owns vLLM; nothing may be in flight."""
    core = engine._core
    assert isinstance(core, InProcessCore)
    core._inbox.put(lambda: core._engine.reset_prefix_cache())  # noqa: PLW0108  # the engine is that thread's
    core.abort("nothing").result()
