"""The process reward model: every step's score kept, one aggregate, and nothing that grows scored twice."""

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import special

from reasoner import Cost, Question
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.errors import UsageError, VerifierError
from reasoner.types import Completion, Logprobs, Rating, TokenIds, Usage
from reasoner.verifier import CostMeter
from reasoner_verifiers.prm import Prm
from reasoner_verifiers.reward import model as reward
from reasoner_verifiers.reward import recipes
from tests.verifiers.rewards import LetterModel, Letters, model_folder, scalar, spell, written

QUESTION = Question.of("How many?", space="number")
POLICY = Letters()
HEAD = "user How many?"
PATH = ("One.\n\n", "Two, and more.\n\n", "Three.\n\n", "Seven")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(reward, "PoolingEngine", LetterModel)
    return model_folder(tmp_path / "m", reasoner_head=True)


def model(prm: Prm) -> LetterModel:
    engine = prm.running.started.engine
    assert isinstance(engine, LetterModel)
    return engine


def rate(prm: Prm, text: str, **options: Any) -> Rating:
    candidate = written(text, finish="length")

    async def go() -> Rating:
        bound = await prm.bound(QUESTION, candidate, POLICY)
        rating = await prm.score(QUESTION, candidate, POLICY, CostMeter())
        assert rating.cost.verifier_tokens <= bound.verifier_tokens
        assert rating.cost.requests <= bound.requests
        assert rating.cost.cached_tokens <= bound.cached_tokens
        return rating

    return asyncio.run(go())


def expected(text: str, *ends: int) -> tuple[float, ...]:
    return tuple(special.expit(scalar(spell(HEAD + text[:end]))) for end in ends)


def test_every_step_is_scored_where_it_ends(folder: str) -> None:
    text = "".join(PATH)
    rating = rate(Prm(folder), text)
    assert rating.steps == pytest.approx(expected(text, 6, 22, 30, 35), abs=1e-6)
    assert rating.value == rating.steps[-1]


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [("last", 0.4), ("min", 0.2), ("mean", 0.4), ("product", 0.6 * 0.2 * 0.4)],
)
def test_the_aggregate_of_the_steps_is_the_value(aggregate: Any, value: float, folder: str) -> None:
    prm = Prm(folder, aggregate=aggregate)
    rate(prm, "a\n\nb\n\nc")
    cache = prm.running.started.cache
    for key, step in zip(list(cache._values), (0.6, 0.2, 0.4), strict=True):
        cache._values[key] = step
    rating = rate(prm, "a\n\nb\n\nc")
    assert rating.steps == (0.6, 0.2, 0.4)
    assert rating.value == pytest.approx(value)


def test_a_growing_path_is_never_scored_twice(folder: str) -> None:
    prm = Prm(folder)
    grown = [rate(prm, "".join(PATH[:count])) for count in range(1, 5)]
    assert [len(rating.steps) for rating in grown] == [1, 2, 3, 4]
    for rating in grown:
        assert rating.steps == grown[-1].steps[: len(rating.steps)]
    assert prm.running.started.cache.computed == 4
    whole = len(HEAD + "".join(PATH))
    assert sum(rating.cost.verifier_tokens for rating in grown) < whole + 4 * 4
    assert sum(rating.cost.requests for rating in grown) == 4
    again = rate(prm, "".join(PATH))
    assert (again.cost, again.steps) == (Cost(), grown[-1].steps)


def test_alone_in_a_batch_and_extended_the_earlier_scores_are_equal(folder: str) -> None:
    texts = ["".join(PATH[:2]), "".join(PATH[:3]), "".join(PATH), "Other.\n\nPath."]
    alone = [rate(Prm(folder), text).steps for text in texts]

    async def gather() -> list[Rating]:
        prm = Prm(folder)
        return await asyncio.gather(
            *(prm.score(QUESTION, written(text, finish="length"), POLICY, CostMeter()) for text in reversed(texts))
        )

    batched = [rating.steps for rating in reversed(asyncio.run(gather()))]
    assert batched == alone
    assert alone[2][:2] == alone[0]


def test_scores_lost_with_a_cancelled_rating_are_computed_past_the_engines_cache(folder: str) -> None:
    prm = Prm(folder)
    text = "".join(PATH)

    async def go() -> tuple[CostMeter, Rating]:
        await prm.start(POLICY)
        gate = model(prm).gate = asyncio.Event()
        tab = CostMeter()
        rating = asyncio.create_task(prm.score(QUESTION, written(text, finish="length"), POLICY, tab))
        await asyncio.sleep(0)
        rating.cancel()
        await asyncio.gather(rating, return_exceptions=True)
        gate.set()
        return tab, await prm.score(QUESTION, written(text, finish="length"), POLICY, CostMeter())

    tab, rating = asyncio.run(go())
    assert tab.cost is None
    assert rating.cost.cached_tokens == 0
    assert rating.steps == pytest.approx(expected(text, 6, 22, 30, 35), abs=1e-6)


def test_positions_that_the_engine_does_not_tell_are_an_error_once(folder: str) -> None:
    """Another user of the same engine left a prefix there of which no score is known."""
    prm = Prm(folder)
    rate(prm, "x")
    ids = spell(HEAD + "".join(PATH))
    model(prm)._seen.update(ids[:end] for end in range(4, len(ids), 4))
    with pytest.raises(VerifierError, match="reported nothing before token 48, and a step ends at token 19"):
        rate(prm, "".join(PATH))
    assert len(rate(prm, "".join(PATH)).steps) == 4


def test_two_labels_are_read_as_the_share_of_the_second(tmp_path: Path, folder: str) -> None:
    prm = Prm(model_folder(tmp_path / "qwen", architectures=["Qwen2ForProcessRewardModel"]))
    asyncio.run(prm.start(POLICY))
    model(prm).labels = 2
    rating = rate(prm, "One.\n\nTwo.")
    assert rating.steps == (0.5, 0.5)
    assert prm.running.started._read((math.log(0.1), math.log(0.9))) == pytest.approx(0.9)


def test_a_tag_that_is_not_one_token_of_the_expected_id_is_refused(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tokens in ({"<extra_0>": 5}, {"ab": 97}):
        qwen = replace(recipes.QWEN_MATH_PRM, tokens=tokens)
        monkeypatch.setitem(recipes._BY_ARCHITECTURE, "Qwen2ForProcessRewardModel", qwen)
        prm = Prm(model_folder(tmp_path / "qwen", architectures=["Qwen2ForProcessRewardModel"]))
        with pytest.raises(UsageError, match=r"is not a qwen_math_prm model: .* should be token \d+ but is \[.*\]"):
            asyncio.run(prm.start(POLICY))


class Judge(VllmEngine):
    """A language model that likes "+" three times as much as "-", whatever it reads."""

    def __init__(self) -> None:
        super().__init__("org/judge")
        self.asked: list[TokenIds] = []

    async def start(self) -> None:
        """Nothing to do."""

    render = Letters().render
    model = Letters().model

    async def encode(self, text: str) -> TokenIds:
        return {"+": (10,), "-": (12,)}.get(text, spell(text))

    async def sample(self, request: SampleRequest) -> Completion:
        ids = request.rendered.token_ids or ()
        request.meter.usage = None
        await asyncio.sleep(0)
        self.asked.append(ids)
        usage = Usage(len(ids), 4, 1)
        watched = {10: math.log(0.3), 12: math.log(0.1)}
        shares = Logprobs((-1.0,), watched=(tuple(watched[token] for token in request.watch),))
        assert request.params.max_tokens == 1
        return Completion(request.prompt, "+", (10,), "length", usage=usage, logprobs=shares)


def test_a_policy_that_is_the_judge_is_asked_for_the_labels(folder: str) -> None:
    judge, prm = Judge(), Prm("org/judge", recipe="rlhflow", aggregate="min")
    candidate = written("One.\n\nTwo.", finish="length")

    async def go() -> tuple[Cost, Rating, Rating]:
        bound = await prm.bound(QUESTION, candidate, judge)
        first = await prm.score(QUESTION, candidate, judge, CostMeter())
        return bound, first, await prm.score(QUESTION, candidate, judge, CostMeter())

    bound, first, second = asyncio.run(go())
    assert prm.running.started.engine is judge
    assert first.steps == pytest.approx((0.75, 0.75))
    lengths = [len(ids) for ids in judge.asked]
    assert first.cost.verifier_tokens == sum(length - 4 + 1 for length in lengths)
    assert (first.cost.cached_tokens, first.cost.requests) == (8, 2)
    assert bound.verifier_tokens == sum(length + 1 for length in lengths)
    assert (second.steps, second.cost) == (first.steps, Cost())


def test_a_judge_that_the_policy_does_not_serve_is_an_engine_of_its_own() -> None:
    options = reward.Options("org/judge", "rlhflow", "steps", "\n\n", "final", 512, 0.1, 0.3, "float32", {"seed": 1})
    engine = VllmEngine(options.model, core="async", **options.of_engine)
    assert (engine.model_id, engine.core, engine.kv_gib, engine.gpu_memory_utilization) == (
        "org/judge",
        "async",
        0.1,
        0.3,
    )
    assert (engine.max_model_len, engine.dtype, engine.args) == (512, "float32", {"seed": 1})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"aggregate": "max"}, "aggregate must be last, min, mean or product .got"),
        ({"recipe": "sequence_classification"}, "recipe must be auto, head"),
        ({"separator": ""}, "separator must not be empty"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Prm(**options)
