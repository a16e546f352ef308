"""Two engines in one process."""

from pathlib import Path

import psutil

from reasoner import Question, SamplingParams, solve_sync
from reasoner.engines.vllm.engine import VllmEngine
from reasoner.trace.events import Event
from reasoner_strategies import Single

ADD = "What is 3 + 4?"
LARGE = 4
"""GiB of a cache, which takes memory only as it is filled."""


def test_closing_one_engine_leaves_another_of_the_same_process_alive(engine: VllmEngine, embedded_model: Path) -> None:
    strategy = Single(params=SamplingParams(max_tokens=4))
    assert solve_sync(Question.of(ADD), strategy, engine).error is None
    core, resident = engine._core, [psutil.Process().memory_info().rss]
    other = f"vllm:model_id={embedded_model},kv_gib={LARGE},max_model_len=256,dtype=float32"

    def weigh(event: Event) -> None:
        resident.append(psutil.Process().memory_info().rss)

    for used in (other, engine):
        assert solve_sync(Question.of(ADD), strategy, used, trace=weigh).error is None
    assert engine._core is core
    assert max(resident) - resident[0] < LARGE / 2 * 2**30
