"""Emptying caches between runs that are compared."""

import asyncio

from reasoner.engines.pooling import PoolingEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm_cores import InProcessCore, PoolingCore
from reasoner_verifiers import Prm


def empty_cache(engine: VllmEngine) -> None:
    """Forget all prefixes, in the thread that owns vLLM; nothing may be in flight."""
    core = engine._core
    assert isinstance(core, InProcessCore)
    core._inbox.put(lambda: core._engine.reset_prefix_cache())  # noqa: PLW0108  # the engine is that thread's
    core.abort("nothing").result()


def forget_ratings(prm: Prm) -> None:
    """Forget all step scores and prefixes of a started reward model; nothing may be in flight."""
    model = prm.running.started
    model.cache._values.clear()
    assert isinstance(model.engine, PoolingEngine)
    core = model.engine._core
    assert isinstance(core, PoolingCore)
    asyncio.run_coroutine_threadsafe(core._engine.reset_prefix_cache(), core._loop).result()
