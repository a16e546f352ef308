"""The head that comes along, served by real vLLM beside the policy that it rates."""

from pathlib import Path

from reasoner import SamplingParams, solve_many_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.trace.events import AnswerExtracted, Event, Sampled, Scored
from reasoner_evals.tasks import arithmetic
from reasoner_strategies import BestOfN
from reasoner_verifiers import Orm
from reasoner_verifiers.fitting import auroc
from reasoner_verifiers.reward.checkpoint import backbone_digest, load_head
from reasoner_verifiers.reward.model import EMBEDDED_HEAD


def test_it_belongs_to_the_embedded_model_and_is_kilobytes(embedded_model: Path) -> None:
    head = load_head(EMBEDDED_HEAD)
    assert head.info.backbone_sha256 == backbone_digest(embedded_model)
    assert (head.info.backbone, head.width) == ("embedded", 576)
    assert EMBEDDED_HEAD.stat().st_size < 10_000
    assert head.info.statistics["labels"] == "outcomes"


def test_it_tells_right_samples_from_wrong_ones_on_questions_it_was_not_fitted_on(engine: VllmEngine, orm: Orm) -> None:
    events: list[Event] = []
    items = {item.question.id: item for item in arithmetic.reported()[:15]}
    questions = [item.question for item in items.values()]
    strategy = BestOfN(8, params=SamplingParams(temperature=0.7, max_tokens=64))
    solve_many_sync(questions, strategy, engine, verifier=orm, trace=events.append)
    read = [e for e in events if isinstance(e, Sampled | AnswerExtracted) and e.answer]
    answers = {(e.question_id, e.index): e.answer.key for e in read if e.answer}
    rated = [event for event in events if isinstance(event, Scored) and event.value is not None]
    right = [answers.get((e.question_id, e.index)) == items[e.question_id].gold for e in rated]
    found = auroc([(event.value or 0.0, label) for event, label in zip(rated, right, strict=True)])
    assert found is not None
    assert found > 0.7
