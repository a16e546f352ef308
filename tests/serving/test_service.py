"""A service without HTTP: what it counts, what it refuses, and what is left after a failure."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reasoner.budget import Budget, Prices
from reasoner.engine import Engine, SampleRequest, TextPiece
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineDied, EngineUnavailable, UsageError
from reasoner.execution.admission import STARTS, TOGETHER
from reasoner.registry import entries
from reasoner.serving.bodies import read
from reasoner.serving.choose import Alias, Job, Offer, choose
from reasoner.serving.config import ServerLimits
from reasoner.serving.errors import ApiError
from reasoner.serving.limits import Client
from reasoner.serving.metrics import KINDS, Metrics
from reasoner.serving.requests import ChatRequest, CompareRequest
from reasoner.serving.service import Service
from reasoner.serving.traces import RecentTraces
from reasoner.solution import Solution
from reasoner.trace.events import Began, Ended, Event
from tests.helpers import jumbled, says, varied
from tests.running import running
from tests.scripted import THINKER, ScriptedEngine
from tests.serving.running import offered

ALICE = Client("alice")


@asynccontextmanager
async def service(engine: Engine, limits: ServerLimits | None = None, **more: Any) -> AsyncIterator[Service]:
    async with Service(engine, more.pop("offer", None) or offered(), limits or ServerLimits(), **more) as made:
        yield made


def jobs(service: Service, model: str = "vote8", **fields: Any) -> list[Job]:
    messages = [{"role": "user", "content": "What is 3 + 4?"}]
    name = f"{service.offer.model}@{model}" if model else service.offer.model
    body = {"model": name, "messages": messages, "seed": 1, **fields}
    return choose(read(json.dumps(body).encode(), ChatRequest), service.offer)


async def solved(service: Service, *arguments: Any, client: Client = ALICE, **fields: Any) -> Solution:
    answered = await service.answer(jobs(service, *arguments, **fields), client)
    return answered.results[0][1]


def counted(service: Service) -> dict[tuple[str, ...], float]:
    """All counters by name and the values of their labels, in the order of the names of these."""
    families = text_string_to_metric_families(service.metrics.text().decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@running
async def test_the_counters_equal_the_ledger_after_a_load() -> None:
    """Of requests that end, lose sequences, are cut by their budget, and whose clients leave."""
    source = random.Random(3)
    engine = ScriptedEngine(varied, pause=jumbled(1, lost=0.1), block_size=4)
    async with service(engine, ServerLimits(max_concurrent=5), traces=RecentTraces()) as serving:
        tasks = []
        for number in range(60):
            more = {"reasoner": {"budget": {"tokens": 150}}} if number % 3 == 0 else {}
            model = source.choice(["vote8", "best8", "universal8", "refine", ""])
            work = serving.answer(jobs(serving, model, seed=number, n=1 + number % 2, **more), ALICE)
            tasks.append(serving.start(work))
        for task in source.sample(tasks, 20):
            for _ in range(source.randint(0, 20)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
        ledger, counts = serving.ledger, counted(serving)
        assert ledger.reserved.tokens == 0
        assert {kind: counts["reasoner_tokens_total", kind] for kind in KINDS} == {
            kind: getattr(ledger.settled, f"{kind}_tokens") for kind in KINDS
        }
        assert counts["reasoner_samples_total",] == ledger.settled.samples
        ended = {key[1]: 0.0 for key in counts if key[0] == "reasoner_requests_total"}
        for key, value in counts.items():
            if key[0] == "reasoner_requests_total":
                ended[key[1]] += value
        assert sum(ended.values()) == counts["reasoner_request_seconds_count",] == 60
        assert ended["answered"] > 0 < ended["cancelled"]
        assert (serving.turns.running, serving.turns.queued) == (0, 0)


@running
async def test_events_are_followed_and_kept_with_their_choice() -> None:
    seen: list[tuple[int, Event | TextPiece]] = []
    async with service(SimulatedEngine(), traces=RecentTraces()) as serving:
        asked = jobs(serving, n=3)
        answered = await serving.answer(asked, ALICE, lambda index, event: seen.append((index, event)))
        for index, ((_, solution), trace) in enumerate(zip(answered.results, answered.traces, strict=True)):
            own = [event for at, event in seen if at == index]
            assert isinstance(own[0], Began)
            assert isinstance(own[-1], Ended)
            assert solution.events == tuple(own)
            assert trace
            kept = serving.traces.get(trace, "alice")
            assert kept
            assert len(kept.lines().splitlines()) == len(own)
            assert serving.traces.get(trace, "bob") is None


@running
@pytest.mark.parametrize(
    ("strategy", "streams"),
    [
        ("single", True),
        ("budget_forcing:max_thinking=40", True),
        ("budget_forcing:max_thinking=40,waits=1", False),
        ("self_consistency:n=2", False),
    ],
)
async def test_the_text_of_a_strategy_that_draws_once_is_followed_as_it_comes(strategy: str, streams: bool) -> None:
    seen: list[Event | TextPiece] = []
    async with service(ScriptedEngine(says("7"), model=THINKER)) as serving:
        asked = jobs(serving, "vote8", reasoner={"strategy": strategy, "answer": "number"})
        answered = await serving.answer(asked, ALICE, lambda _, event: seen.append(event))
    [(_, solution)] = answered.results
    pieces = [piece for piece in seen if isinstance(piece, TextPiece)]
    assert bool(pieces) == streams
    assert len(pieces) == len(seen) or not streams
    if streams:
        assert "".join(piece.text for piece in pieces if not piece.thinking) == solution.text
        assert any(piece.thinking for piece in pieces)


@running
async def test_an_engine_that_died_makes_the_server_unhealthy() -> None:
    def die(request: SampleRequest) -> str:
        raise EngineDied("it died twice")

    async with service(ScriptedEngine(die)) as serving:
        with pytest.raises(ApiError) as failed:
            await solved(serving)
        assert (failed.value.status, failed.value.code) == (503, "engine_unavailable")
        assert serving.state == "failed"
        with pytest.raises(ApiError, match="the server has lost its engine"):
            await solved(serving)


@running
async def test_one_choice_that_fails_ends_the_others() -> None:
    """Nothing is left in flight."""

    async def pause(request: SampleRequest) -> None:
        if request.seed % 3 == 0:
            raise RuntimeError
        await asyncio.get_running_loop().create_future()

    async with service(ScriptedEngine(says("7"), pause=pause)) as serving:
        with pytest.raises(ApiError):
            await serving.answer(jobs(serving, "", n=16), ALICE)
        assert serving.ledger.reserved.tokens == 0
        assert serving.turns.running == 0


class Closing(SimulatedEngine):
    closed = 0

    async def close(self) -> None:
        Closing.closed += 1


class Failing(Closing):
    async def start(self) -> None:
        raise EngineUnavailable("no")


@pytest.mark.parametrize("kind", [Closing, Failing])
@running
async def test_the_engine_is_closed_whatever_happened(kind: type[Closing]) -> None:
    Closing.closed = 0
    with suppress(EngineUnavailable):
        async with service(kind()):
            pass
    assert Closing.closed == 1


WIDE = (("", 1, "self_consistency:n=512"), ("", 64, "best_of_n:n=8"), ("", 8, "none"), ("best8", 32, None))


@pytest.mark.slow
@running
async def test_others_have_their_turns_while_many_samples_are_drawn() -> None:
    """However many are asked for, few start and little happens in one turn of the loop, and it is cut off at once."""
    starts, happened, drawn = [0], [0], asyncio.Event()

    def reply(_: SampleRequest) -> str:
        starts[-1] += 1
        if sum(starts) == 1000:
            drawn.set()
        return "7"

    def follow(_index: int, _news: object) -> None:
        happened[-1] += 1

    async def beat() -> None:
        while True:
            await asyncio.sleep(0)
            starts.append(0)
            happened.append(0)

    async with service(ScriptedEngine(reply)) as serving:
        beating = asyncio.ensure_future(beat())
        asked = [jobs(serving, model, n=n, reasoner={"strategy": spec} if spec else {}) for model, n, spec in WIDE]
        work = [serving.start(serving.answer(each, ALICE, follow)) for each in asked]
        await drawn.wait()
        serving.cancel()
        await asyncio.wait(work)
        assert any(task.cancelled() for task in work)
        beating.cancel()
    assert max(starts) <= STARTS + TOGETHER
    assert max(happened) <= 4 * (STARTS + TOGETHER)
    assert 1000 <= sum(starts) <= 1000 + 2 * (STARTS + TOGETHER)


PASSES = Alias.of()


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (Offer(Alias.of("best_of_n")), "the default: the strategy needs a verifier"),
        (Offer(PASSES, {"a": Alias.of("self_consistency", answer="free")}), "the alias a: this strategy counts"),
        (Offer(PASSES, {"a": Alias.of("best_of_n", verifier="x")}), "the alias a: no verifier named 'x'"),
    ],
)
def test_what_cannot_be_offered_is_refused_before_the_engine_starts(made: Offer, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Service(SimulatedEngine(), made, ServerLimits())


@running
@pytest.mark.parametrize(
    ("question", "replies", "kind", "same", "answers"),
    [
        ("What is 17 * 24?", ["The answer is 408", "408"], "auto", True, ["408", "408"]),
        ("What is 17 * 24?", ["The answer is 408", "409"], "auto", False, ["408", "409"]),
        ("What is 1/2 + 1/4?", [r"\boxed{\frac{3}{4}}", "0.75"], "math", True, [r"\frac{3}{4}", "0.75"]),
        ("What is 17 * 24?", ["I do not know", "408"], "number", None, [None, "408"]),
        ("Which? A) one B) two", ["The answer is (B)", "two"], "auto", True, ["B", "B"]),
    ],
)
async def test_two_replies_are_compared_by_their_answers(
    question: str, replies: list[str], kind: str, same: bool | None, answers: list[str | None]
) -> None:
    asked = CompareRequest.model_validate({"question": question, "replies": replies, "answer": kind})
    async with service(SimulatedEngine()) as serving:
        told = await serving.compare(asked, ALICE)
        assert (told["same"], told["answers"]) == (same, answers)
        assert serving.turns.running == 0
        choice = CompareRequest.model_validate({"question": "How?", "replies": replies, "answer": "choice"})
        with pytest.raises(ApiError, match="lists no options"):
            await serving.compare(choice, ALICE)


@running
async def test_an_estimate_has_the_prices_and_takes_a_turn() -> None:
    prices = Prices(prompt=1.0, generated=10.0)
    async with service(SimulatedEngine(), ServerLimits(1, 0), offer=offered(prices=prices)) as serving:
        cost = await serving.estimate(jobs(serving, max_tokens=10, n=2), ALICE)
        longest = cost["longest"]
        assert longest["generated_tokens"] == 160
        assert longest["usd"] == pytest.approx((longest["prompt_tokens"] + 1600) / 1e6)
        async with serving.turns.turn(ALICE):
            with pytest.raises(ApiError, match="the queue is full"):
                await serving.estimate(jobs(serving), ALICE)


@running
async def test_an_estimate_is_bounded_by_the_budget_and_not_by_memory() -> None:
    async with service(SimulatedEngine()) as serving:
        long = {"max_tokens": 1_000_000, "reasoner": {"strategy": "self_consistency:n=200", "answer": "number"}}
        cost = await serving.estimate(jobs(serving, "", **long), ALICE)
        assert cost["longest"]["generated_tokens"] > 100_000_000
    async with service(SimulatedEngine(), ServerLimits(max_budget=Budget(tokens=500))) as serving:
        cost = await serving.estimate(jobs(serving, "vote16"), ALICE)
        assert cost["longest"]["tokens"] <= 500


@pytest.mark.parametrize("name", sorted(entries("strategy")))
@running
async def test_the_cost_of_every_strategy_is_estimated(name: str) -> None:
    async with service(SimulatedEngine()) as serving:
        asked = jobs(serving, "", max_tokens=64, reasoner={"strategy": name, "answer": "number"})
        if name == "likelihood":
            with pytest.raises(ApiError, match="use vLLM") as refused:
                await serving.estimate(asked, ALICE)
            assert refused.value.status == 400
            return
        cost = await serving.estimate(asked, ALICE)
        assert cost["mean"]["tokens"] > 0
        assert cost["longest"]["tokens"] > 0
        assert serving.ledger.settled.tokens == 0


def test_labels_are_bounded() -> None:
    metrics = Metrics(["single"])
    for name in ("single", "none", *map(str, range(1000))):
        metrics.end(name, "answered", 0.2)
    families = text_string_to_metric_families(metrics.text().decode())
    requests = {
        sample.labels["strategy"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "reasoner_requests_total"
    }
    assert requests == {"single": 1, "none": 1, "other": 1000}
