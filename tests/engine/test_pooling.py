"""Reward models on vLLM's pooling runner: parity with plain PyTorch, what is computed, and what the ledger says of it."""

import asyncio
import math
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pytest

from reasoner import Budget, Cost, Question, SamplingParams, solve_many_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.pooling import PoolingEngine
from reasoner.trace.events import AnswerExtracted, Event, Sampled, Scored
from reasoner.types import Completion, Rating, TokenIds
from reasoner.verifier import CostMeter
from reasoner_evals.tasks import arithmetic
from reasoner_strategies import BestOfN
from reasoner_verifiers.orm import Orm
from reasoner_verifiers.prm import Prm
from reasoner_verifiers.reward import recipes
from reasoner_verifiers.reward.checkpoint import Array, backbone_digest, load_head
from reasoner_verifiers.reward.model import EMBEDDED_HEAD
from tests.engine.rewarding import (
    hidden_states,
    tiny_classifier,
    tiny_classifier_logit,
    tiny_prm,
    tiny_prm_logits,
)
from tests.helpers import auroc

T = TypeVar("T")
QUESTION = Question.of("What is 3 + 4?")
STEPS = (
    "First take 3.",
    "Then add 4, which makes 7.",
    "Check: 7 - 4 = 3.",
    "The answer is 7",
)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def softmax(logits: Array) -> Array:
    parts = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = parts / parts.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Rig(NamedTuple):
    """The policy, the head that comes along served beside it, and the outputs of vLLM for it."""

    policy: VllmEngine
    orm: Orm
    outputs: list[Any]


@pytest.fixture
def rig(engine: VllmEngine, orm: Orm, monkeypatch: pytest.MonkeyPatch) -> Rig:
    outputs: list[Any] = []
    core = pooling(orm)._core
    assert core is not None
    submit = core.submit

    def listened(job: Any) -> Any:
        future = submit(job)
        future.add_done_callback(
            lambda done: None if done.exception() else outputs.append(done.result())
        )
        return future

    monkeypatch.setattr(core, "submit", listened)
    return Rig(engine, orm, outputs)


def pooling(verifier: Orm | Prm) -> PoolingEngine:
    engine = verifier.running.started.engine
    assert isinstance(engine, PoolingEngine)
    return engine


async def candidate(policy: VllmEngine, *pieces: str) -> Completion:
    """As if generated piece by piece, so that a longer candidate begins with the tokens of a shorter one."""
    ids: TokenIds = ()
    for piece in pieces:
        ids += await policy.encode(piece) or ()
    return Completion(QUESTION.prompt, "".join(pieces), ids, "length")


async def whole_ids(policy: VllmEngine, one: Completion) -> TokenIds:
    rendered = await policy.render(one.prompt.then(one))
    assert rendered.token_ids is not None
    return rendered.token_ids


def test_the_head_belongs_to_the_embedded_model_and_is_kilobytes(
    embedded_model: Path,
) -> None:
    head = load_head(EMBEDDED_HEAD)
    assert head.info.backbone_sha256 == backbone_digest(embedded_model)
    assert (head.info.backbone, head.width) == ("embedded", 576)
    assert EMBEDDED_HEAD.stat().st_size < 10_000


def test_it_tells_right_samples_from_wrong_ones_on_questions_it_was_not_fitted_on(
    rig: Rig,
) -> None:
    events: list[Event] = []
    items = {item.question.id: item for item in arithmetic.reported()[:15]}
    questions = [item.question for item in items.values()]
    strategy = BestOfN(8, params=SamplingParams(temperature=0.7, max_tokens=64))
    solve_many_sync(
        questions, strategy, rig.policy, verifier=rig.orm, trace=events.append
    )
    read = [e for e in events if isinstance(e, Sampled | AnswerExtracted) and e.answer]
    answers = {(e.question_id, e.index): e.answer.key for e in read if e.answer}
    rated = [
        event
        for event in events
        if isinstance(event, Scored) and event.value is not None
    ]
    right = [
        answers.get((e.question_id, e.index)) == items[e.question_id].gold
        for e in rated
    ]
    found = auroc(
        [(event.value or 0.0, label) for event, label in zip(rated, right, strict=True)]
    )
    assert found > 0.7


def test_a_served_head_says_what_numpy_says_of_the_hidden_states(
    rig: Rig, embedded_model: Path
) -> None:
    async def go() -> tuple[float | None, Cost, TokenIds]:
        one = await candidate(rig.policy, "\n\n".join(STEPS))
        rating = await rig.orm.score(QUESTION, one, rig.policy, CostMeter())
        return rating.value, rating.cost, await whole_ids(rig.policy, one)

    value, cost, ids = run(go())
    head = load_head(EMBEDDED_HEAD)
    expected = head.logit(hidden_states(embedded_model, ids, layer=head.layer))
    assert value == pytest.approx(sigmoid(expected[-1]), abs=1e-4)
    assert cost.verifier_tokens + cost.cached_tokens == len(ids)
    assert cost.flops == pooling(rig.orm).model.flops(
        prompt=len(ids), cached=cost.cached_tokens, generated=0
    )


def test_best_of_n_books_exactly_what_the_reward_model_counted(rig: Rig) -> None:
    events: list[Event] = []
    questions = [Question.of(f"What is {a} + {a + 2}?", id=str(a)) for a in range(1, 4)]
    strategy = BestOfN(n=4, params=SamplingParams(max_tokens=48))
    solutions = solve_many_sync(
        questions,
        strategy,
        rig.policy,
        verifier=rig.orm,
        each=Budget(tokens=5_000),
        trace=events.append,
    )
    assert [solution.error for solution in solutions] == [None] * 3
    scored = [event for event in events if isinstance(event, Scored)]
    assert scored
    assert all(event.value is not None for event in scored)
    computed = sum(
        len(one.prompt_token_ids) - one.num_cached_tokens for one in rig.outputs
    )
    cached = sum(one.num_cached_tokens for one in rig.outputs)
    assert sum(solution.cost.verifier_tokens for solution in solutions) == computed > 0
    assert sum(event.cost.cached_tokens for event in scored) == cached
    assert sum(event.cost.requests for event in scored) == len(rig.outputs)


@pytest.fixture(scope="module")
def tiny(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_prm(tmp_path_factory.mktemp("tiny") / "model", embedded_model)


def test_a_qwen_process_reward_model_agrees_with_pytorch(
    tiny: Path, engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every position, through the verifier with its recipe: step probabilities within 1e-3, and far closer."""
    tag = "<|endoftext|>"
    qwen = replace(recipes.QWEN_MATH_PRM, tag=tag, tokens={tag: 0})
    monkeypatch.setitem(recipes._BY_ARCHITECTURE, "Qwen2ForProcessRewardModel", qwen)
    prm = Prm(
        model=str(tiny),
        dtype="float32",
        max_model_len=1024,
        kv_gib=0.1,
        aggregate="min",
    )

    async def go() -> tuple[tuple[float, ...], float | None, TokenIds, Cost, Cost]:
        short = await prm.score(
            QUESTION,
            await candidate(engine, "\n\n".join(STEPS[:3])),
            engine,
            CostMeter(),
        )
        one = await candidate(engine, "\n\n".join(STEPS))
        laid = await prm.running.started.lay(QUESTION, one, engine)
        rating = await prm.score(QUESTION, one, engine, CostMeter())
        free = await prm.score(QUESTION, one, engine, CostMeter())
        await prm.reset_caches()
        again = await prm.score(QUESTION, one, engine, CostMeter())
        await prm.close()
        assert free.cost.verifier_tokens == 0
        assert (again.cost.cached_tokens, again.cost.verifier_tokens) == (
            0,
            len(laid.ids),
        )
        return rating.steps, rating.value, laid.ids, short.cost, rating.cost

    steps, value, ids, short, longer = run(go())
    places = [at for at, token in enumerate(ids) if token == 0]
    assert len(places) == len(steps) == len(STEPS)
    expected = softmax(tiny_prm_logits(tiny, ids))[places, 1]
    assert steps == pytest.approx(expected, abs=1e-3)
    assert np.ptp(expected) > 0.1, "scores that hardly differ would agree by chance"
    assert value == min(steps)
    assert short.cached_tokens == 0
    assert longer.cached_tokens > 0
    assert longer.verifier_tokens + longer.cached_tokens == len(ids)


def test_a_sequence_classifier_agrees_with_transformers(
    engine: VllmEngine, embedded_model: Path, tmp_path: Path
) -> None:
    folder = tiny_classifier(tmp_path / "tiny", embedded_model)
    orm = Orm(model=str(folder), dtype="float32", max_model_len=1024, kv_gib=0.1)

    async def go() -> list[tuple[Rating, tuple[int, ...], Cost]]:
        found = []
        for text in ("The answer is 7", "It is 8, as 3 + 5 = 8", "The answer is 7"):
            one = await candidate(engine, text)
            bound = await orm.bound(QUESTION, one, engine)
            laid = await orm.running.started.lay(QUESTION, one, engine)
            found.append(
                (await orm.score(QUESTION, one, engine, CostMeter()), laid.ids, bound)
            )
        await orm.close()
        return found

    rated = asyncio.run(go())
    for rating, ids, bound in rated:
        assert rating.value == pytest.approx(
            1 / (1 + math.exp(-tiny_classifier_logit(folder, ids))), abs=1e-4
        )
        assert rating.cost.verifier_tokens <= bound.verifier_tokens == len(ids)
    assert rated[0][0].value != pytest.approx(rated[1][0].value, abs=1e-3)
    assert (rated[2][0].cost.verifier_tokens, rated[2][0].cost.requests) == (0, 0)
