"""The outcome reward model: its value, its cost and its bound, what is free, and how it starts and stops."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from scipy import special

from reasoner import Cost, Question
from reasoner.engines.vllm.pooling import PoolingEngine
from reasoner.errors import EngineError, UsageError, VerifierError
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers.orm import Orm
from reasoner_verifiers.reward import model as reward
from tests.helpers import says
from tests.scripted import ScriptedEngine
from tests.verifiers.rewards import LetterModel, Letters, model_folder, scalar, spell, written

QUESTION = Question.of("How many?", space="number")
POLICY = Letters()


@pytest.fixture
def orm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Orm:
    monkeypatch.setattr(reward, "PoolingEngine", LetterModel)
    return Orm(model=model_folder(tmp_path / "m", reasoner_head=True))


def model(orm: Orm) -> LetterModel:
    engine = orm.running.started.engine
    assert isinstance(engine, LetterModel)
    return engine


def rate(orm: Orm, candidate: Completion, policy: Any = POLICY) -> Rating:
    async def go() -> Rating:
        bound = await orm.bound(QUESTION, candidate, policy)
        rating = await orm.score(QUESTION, candidate, policy, CostMeter())
        assert rating.cost.verifier_tokens <= bound.verifier_tokens
        assert rating.cost.requests <= bound.requests
        assert (rating.cost.flops or 0) <= (bound.flops or 0)
        return rating

    return asyncio.run(go())


def test_its_value_is_the_sigmoid_at_the_last_token_and_its_cost_the_engines_count(orm: Orm) -> None:
    ids = spell("user How many?It is 7")
    rating = rate(orm, written("It is 7"))
    assert rating.value == pytest.approx(special.expit(scalar(ids)))
    assert rating.steps == ()
    [usage] = model(orm).calls
    assert rating.cost == Cost(
        verifier_tokens=len(ids), requests=1, flops=model(orm).model.flops(prompt=len(ids), cached=0, generated=0)
    )
    assert usage.prompt_tokens == len(ids)


def test_a_candidate_that_shares_a_prefix_pays_for_the_rest(orm: Orm) -> None:
    first, second = rate(orm, written("It is 7")), rate(orm, written("It is 8"))
    assert second.cost.cached_tokens == len("user How many?It is ") // 4 * 4
    assert second.cost.verifier_tokens + second.cost.cached_tokens == first.cost.verifier_tokens


def test_the_same_candidate_again_is_free(orm: Orm) -> None:
    first, second = rate(orm, written("It is 7")), rate(orm, written("It is 7", index=5))
    assert (second.value, second.cost) == (first.value, Cost())
    assert len(model(orm).calls) == 1


def test_a_failure_is_an_error_whose_cost_is_known(orm: Orm) -> None:
    async def go() -> CostMeter:
        await orm.start(POLICY)
        model(orm).failing = True
        tab = CostMeter()
        with pytest.raises(EngineError, match="fell over"):
            await orm.score(QUESTION, written("It is 7"), POLICY, tab)
        return tab

    cost = asyncio.run(go()).cost
    assert cost is not None
    assert cost.verifier_tokens == len("user How many?It is 7")


def test_a_candidate_beyond_the_models_window_is_an_error(orm: Orm) -> None:
    rate(orm, written("1"))
    model(orm).window = 20
    with pytest.raises(VerifierError, match="24 tokens and the reward model's context is 20"):
        rate(orm, written("It is 1234"))


def test_another_number_of_labels_is_an_error(orm: Orm) -> None:
    rate(orm, written("1"))
    model(orm).labels = 3
    with pytest.raises(VerifierError, match="head reads 1 labels and the model gives 3"):
        rate(orm, written("2"))


def test_a_policy_with_other_tokens_is_read_as_text(orm: Orm) -> None:
    rating = rate(orm, written("It is 7"), ScriptedEngine(says("7")))
    assert rating.value == pytest.approx(special.expit(scalar(spell("[user]How many?<end>[assistant]It is 7"))))


def test_many_that_start_it_at_once_start_one(orm: Orm) -> None:
    async def go() -> list[int]:
        async def start() -> int:
            await orm.start(POLICY)
            return id(orm.running.started)

        return await asyncio.gather(*(start() for _ in range(5)))

    assert len(set(asyncio.run(go()))) == 1


def test_closed_it_is_gone_and_starts_again(orm: Orm) -> None:
    rate(orm, written("1"))
    first = model(orm)
    asyncio.run(orm.close())
    asyncio.run(orm.close())
    assert orm.running.model is None
    rate(orm, written("1"))
    assert model(orm) is not first


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"recipe": "prm"}, "recipe must be auto, head or sequence_classification .got"),
        ({"model": "no/such/model"}, "no model named"),
        ({"model": "/nowhere/head.safetensors"}, "there is no file /nowhere/head.safetensors"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        asyncio.run(Orm(**options).start(POLICY))


@pytest.mark.parametrize(
    "options", [{"kv_gib": 0}, {"gpu_memory_utilization": 1}, {"gpu_memory_utilization": -0.1}, {"max_model_len": -2}]
)
def test_an_engine_without_memory_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"kv_gib must be above 0|from 0 to 1|at least -1|give less than 1"):
        PoolingEngine("m", **options)
