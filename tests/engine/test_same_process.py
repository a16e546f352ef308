"""Two engines in one process."""

from pathlib import Path

from reasoner import Question, SamplingParams, solve_sync
from reasoner.engines.vllm.engine import VllmEngine
from reasoner_strategies import Single

ADD = "What is 3 + 4?"


def test_closing_one_engine_leaves_another_of_the_same_process_alive(engine: VllmEngine, embedded_model: Path) -> None:
    strategy = Single(params=SamplingParams(max_tokens=4))
    assert solve_sync(Question.of(ADD), strategy, engine).error is None
    core = engine._core
    other = f"vllm:model_id={embedded_model},kv_gib=0.2,max_model_len=256,dtype=float32"
    for used in (other, engine):
        assert solve_sync(Question.of(ADD), strategy, used).error is None
    assert engine._core is core
