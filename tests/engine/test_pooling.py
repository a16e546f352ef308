"""Reward models on vLLM's pooling runner: parity with plain PyTorch, what is computed, and what the ledger says of it."""

import asyncio
import math
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psutil
import pytest

from reasoner import Budget, Cost, Question, SamplingParams, solve_many_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.pooling import PoolingEngine
from reasoner.errors import RequestLost
from reasoner.trace.events import Event, Scored
from reasoner.types import Completion, TokenIds
from reasoner.verifier import CostMeter
from reasoner_strategies import BestOfN
from reasoner_verifiers.orm import Orm
from reasoner_verifiers.prm import Prm
from reasoner_verifiers.reward import recipes
from reasoner_verifiers.reward.checkpoint import Array, Head
from tests.engine.rewarding import beside, hidden_states, random_head, served, tiny_prm, tiny_prm_logits

T = TypeVar("T")
LAYER = 4
QUESTION = Question.of("What is 3 + 4?")
STEPS = ("First take 3.", "Then add 4, which makes 7.", "Check: 7 - 4 = 3.", "The answer is 7")
CHAIN = tuple(step + "\n\n" for step in STEPS)
IDS = tuple(np.random.default_rng(0).integers(100, 40_000, 150).tolist())


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def softmax(logits: Array) -> Array:
    parts = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = parts / parts.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Rig(NamedTuple):
    """The policy, a reward model on four of its layers in a process of its own, and the head that it serves."""

    policy: VllmEngine
    orm: Orm
    head: Head
    backbone: Path
    outputs: list[Any]
    others: list[psutil.Process]
    """Processes of reward models that other tests share."""

    @property
    def processes(self) -> list[psutil.Process]:
        return [process for process in core_processes() if process not in self.others]


@pytest.fixture(scope="module")
def rig(engine: VllmEngine, embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    others = core_processes()
    head = random_head(embedded_model, layer=LAYER)
    folder = served(head, embedded_model, tmp_path_factory.mktemp("reward") / "model")
    orm = Orm(model=str(folder), dtype="float32", max_model_len=1024, kv_gib=0.25)
    run(orm.start(engine))
    outputs: list[Any] = []
    core = pooling(orm)._core
    assert core is not None
    submit = core.submit

    def listened(job: Any) -> Any:
        future = submit(job)
        future.add_done_callback(lambda done: None if done.exception() else outputs.append(done.result()))
        return future

    core.submit = listened  # type: ignore[method-assign]
    yield Rig(engine, orm, head, embedded_model, outputs, others)
    run(orm.close())
    assert core_processes() == others


def core_processes() -> list[psutil.Process]:
    # A killed one stays as a zombie until Python next starts a process.
    children = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "EngineCore" in " ".join((child.name(), *child.cmdline()))]


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


def test_a_served_head_says_what_numpy_says_of_the_hidden_states(rig: Rig) -> None:
    async def go() -> tuple[float | None, Cost, TokenIds]:
        one = await candidate(rig.policy, "\n\n".join(STEPS))
        rating = await rig.orm.score(QUESTION, one, rig.policy, CostMeter())
        return rating.value, rating.cost, await whole_ids(rig.policy, one)

    value, cost, ids = run(go())
    expected = rig.head.logit(hidden_states(rig.backbone, ids, layer=LAYER))
    assert value == pytest.approx(sigmoid(expected[-1]), abs=1e-5)
    assert cost.verifier_tokens + cost.cached_tokens == len(ids)
    assert cost.flops == pooling(rig.orm).model.flops(prompt=len(ids), cached=cost.cached_tokens, generated=0)


def test_best_of_n_books_exactly_what_the_reward_model_counted(rig: Rig) -> None:
    rig.outputs.clear()
    events: list[Event] = []
    questions = [Question.of(f"What is {a} + {a + 2}?", id=str(a)) for a in range(1, 4)]
    strategy = BestOfN(n=4, params=SamplingParams(max_tokens=48))
    solutions = solve_many_sync(
        questions, strategy, rig.policy, verifier=rig.orm, each=Budget(tokens=5_000), trace=events.append
    )
    assert [solution.error for solution in solutions] == [None] * 3
    scored = [event for event in events if isinstance(event, Scored)]
    assert scored
    assert all(event.value is not None for event in scored)
    computed = sum(len(one.prompt_token_ids) - one.num_cached_tokens for one in rig.outputs)
    cached = sum(one.num_cached_tokens for one in rig.outputs)
    assert sum(solution.cost.verifier_tokens for solution in solutions) == computed > 0
    assert sum(event.cost.cached_tokens for event in scored) == cached
    assert sum(event.cost.requests for event in scored) == len(rig.outputs)


def test_a_growing_path_is_never_scored_twice(rig: Rig) -> None:
    prm = beside(rig.orm)

    async def grow() -> list[tuple[tuple[float, ...], Cost]]:
        await prm.start(rig.policy)
        seen = []
        for count in range(1, len(STEPS) + 1):
            one = await candidate(rig.policy, *CHAIN[:count])
            rating = await prm.score(QUESTION, one, rig.policy, CostMeter())
            seen.append((rating.steps, rating.cost))
        return seen

    grown = run(grow())
    last = grown[-1][0]
    assert [len(steps) for steps, _ in grown] == [1, 2, 3, 4]
    assert all(steps == last[: len(steps)] for steps, _ in grown)
    whole = run(candidate(rig.policy, *CHAIN))
    ids = run(whole_ids(rig.policy, whole))
    # A request computes what is new, and at most one block of 32 that was not full before.
    assert sum(cost.verifier_tokens for _, cost in grown) <= len(ids) + 32 * len(STEPS)
    assert len(prm.running.started.cache._values) == len(STEPS)
    again = run(prm.score(QUESTION, whole, rig.policy, CostMeter()))
    assert (again.steps, again.cost) == (last, Cost())


def test_a_cancelled_rating_is_booked_at_no_less_than_it_cost_and_can_be_had_again(rig: Rig) -> None:
    prm = beside(rig.orm)

    async def cancel() -> tuple[CostMeter, float | None, float | None]:
        await prm.start(rig.policy)
        one = await candidate(rig.policy, "A step of its own kind.\n\n" * 40)
        cost_meter = CostMeter()
        rating = asyncio.create_task(prm.score(QUESTION, one, rig.policy, cost_meter))
        while cost_meter.cost is not None:  # noqa: ASYNC110 # until the request is on its way
            await asyncio.sleep(0)
        rating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rating
        core: Any = pooling(rig.orm)._core
        assert not core._engine.output_processor.request_states
        again = await prm.score(QUESTION, one, rig.policy, CostMeter())
        fresh = beside(rig.orm)
        await fresh.start(rig.policy)
        fresh.running.started.cache._values.update(dict.fromkeys(prm.running.started.cache._values))
        return cost_meter, again.value, (await fresh.score(QUESTION, one, rig.policy, CostMeter())).value

    cost_meter, again, fresh = run(cancel())
    assert cost_meter.cost is None, "which the runner books at the bound"
    assert again == pytest.approx(fresh, abs=1e-6)


def test_a_killed_reward_model_is_started_again_with_the_next_rating(rig: Rig) -> None:
    """Last of those that share the reward model: its one restart is used up."""
    [core] = rig.processes
    told: list[str] = []
    engine = pooling(rig.orm)
    engine.notify = told.append

    async def go() -> tuple[CostMeter, float | None]:
        one, cost_meter = await candidate(rig.policy, "Killed " * 200), CostMeter()
        rating = asyncio.create_task(rig.orm.score(QUESTION, one, rig.policy, cost_meter))
        while cost_meter.cost is not None or not rig.orm.running.started.cache._flights:  # noqa: ASYNC110
            await asyncio.sleep(0)
        core.kill()
        with pytest.raises(RequestLost, match="the reward model died"):
            await rating
        return cost_meter, (await rig.orm.score(QUESTION, one, rig.policy, CostMeter())).value

    cost_meter, value = run(go())
    assert cost_meter.cost is None
    assert value is not None
    assert engine.restarts == 1
    assert "it is restarted" in told[0]


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
    prm = Prm(model=str(tiny), dtype="float32", max_model_len=1024, kv_gib=0.1, aggregate="min")

    async def go() -> tuple[tuple[float, ...], float | None, TokenIds, Cost, Cost]:
        short = await prm.score(QUESTION, await candidate(engine, "\n\n".join(STEPS[:3])), engine, CostMeter())
        one = await candidate(engine, "\n\n".join(STEPS))
        laid = await prm.running.started.lay(QUESTION, one, engine)
        rating = await prm.score(QUESTION, one, engine, CostMeter())
        free = await prm.score(QUESTION, one, engine, CostMeter())
        await prm.reset_caches()
        again = await prm.score(QUESTION, one, engine, CostMeter())
        await prm.close()
        assert free.cost.verifier_tokens == 0
        assert (again.cost.cached_tokens, again.cost.verifier_tokens) == (0, len(laid.ids))
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
