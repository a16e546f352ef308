"""The head that comes along, served by real vLLM beside the policy that it rates."""

from pathlib import Path

import pytest

from reasoner import Budget, Cost, SamplingParams, solve_many_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.errors import UnknownName
from reasoner.registry import build, options_of, spec_of
from reasoner.trace.events import Event, Sampled, Scored
from reasoner_evals.tasks import arithmetic
from reasoner_strategies import BestOfN
from reasoner_verifiers import Orm, Prm
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
    answers = {(e.question_id, e.index): e.answer for e in events if isinstance(e, Sampled)}
    rated = [event for event in events if isinstance(event, Scored) and event.value is not None]
    right = [answers[e.question_id, e.index].key == items[e.question_id].gold for e in rated]  # type: ignore[union-attr]
    found = auroc([(event.value or 0.0, label) for event, label in zip(rated, right, strict=True)])
    assert found is not None
    assert found > 0.7


def test_in_a_run_its_tokens_are_the_ledger_s_and_equal_answers_are_rated_once(engine: VllmEngine, orm: Orm) -> None:
    events: list[Event] = []
    questions = [item.question for item in arithmetic.development()[:4]]
    solutions = solve_many_sync(
        questions,
        BestOfN(6, "weighted", SamplingParams(temperature=0.7, max_tokens=64)),
        engine,
        verifier=orm,
        each=Budget(tokens=3000),
        trace=events.append,
    )
    assert all(solution.error is None for solution in solutions)
    rated = [event for event in events if isinstance(event, Scored)]
    spent = sum((event.cost for event in rated), Cost())
    assert sum(s.cost.verifier_tokens for s in solutions) == spent.verifier_tokens > 0
    assert (
        sum(s.cost.requests for s in solutions) == len([e for e in events if isinstance(e, Sampled)]) + spent.requests
    )
    drawn = {(e.question_id, e.index): e.token_ids for e in events if isinstance(e, Sampled)}
    different = {(e.question_id, drawn[e.question_id, e.index]) for e in rated}
    assert spent.requests <= len(different)
    assert all(solution.cost.tokens <= 3000 for solution in solutions)


@pytest.mark.parametrize("name", ["orm", "prm"])
def test_its_options_are_taken_kept_and_written_again(name: str) -> None:
    plain = build("verifier", name)
    assert build("verifier", spec_of(plain)) == plain
    given = {
        "model": "some/model",
        "recipe": "head",
        "aggregate": "min",
        "separator": r'"\n"',
        "part": "all",
        "max_model_len": "512",
        "kv_gib": "0.25",
        "gpu_memory_utilization": "0.1",
        "dtype": "float32",
    }
    for field in options_of(type(plain)).keys() - {"args"}:
        changed = build("verifier", f"{name}:{field}={given[field]}")
        assert changed != plain
        assert build("verifier", spec_of(changed)) == changed
        with pytest.raises(UnknownName, match=f"did you mean '{field}'"):
            build("verifier", f"{name}:{field}x=1")


def test_both_kinds_are_in_the_catalog() -> None:
    assert build("verifier", "orm") == Orm()
    assert build("verifier", "prm") == Prm()
