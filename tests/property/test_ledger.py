"""Invariant of the ledger under any schedule: settled + reserved never exceeds a budget, and the books are the usage."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reasoner import (
    Answer,
    Budget,
    Cost,
    Ledger,
    Prices,
    Question,
    SamplingParams,
    solve_many,
)
from reasoner.budget import Reservation
from reasoner.errors import BudgetExhausted, RequestLost
from reasoner.models.info import ModelInfo
from reasoner.strategy import Cancel, Handle, Next, Plan, Propose, Sample, Score, Start
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    Judge,
    Planned,
    books,
    jumbled,
    meter_of,
    number_question,
    traced_cost,
    turns,
    varied,
)
from reasoner.trace.events import Began, Ended, Event, Work
from reasoner.types import VoteState
from tests.sweeps import cases, widths

MODEL = ModelInfo("m", parameters=1000, layers=2, heads=2, head_dim=8)
PRICES = Prices(prompt=1, generated=4, cached=0.25)

MEASURES: dict[str, Callable[[Cost], float]] = {
    "tokens": lambda c: (
        c.prompt_tokens + c.generated_tokens + c.verifier_tokens + c.cancelled_tokens
    ),
    "generated": lambda c: c.generated_tokens + c.cancelled_tokens,
    "samples": lambda c: c.samples,
    "usd": PRICES.usd,
}


def booked(
    prompt: int, cached: int, generated: int, *, cancelled: bool = False
) -> Cost:
    return Cost(
        prompt_tokens=prompt - cached,
        cached_tokens=cached,
        generated_tokens=0 if cancelled else generated,
        cancelled_tokens=generated if cancelled else 0,
        requests=1,
        samples=1,
        flops=MODEL.flops(prompt=prompt, cached=cached, generated=generated),
    )


OF_A_LEDGER = {
    "tokens": 3000,
    "generated": 1500,
    "samples": 12,
    "usd": 8e-3,
}
OF_A_RUN = {
    "tokens": 500,
    "generated": 200,
    "samples": 20,
    "usd": 1e-3,
}


def random_budget(source: random.Random, highest: Mapping[str, float]) -> Budget:
    limits: dict[str, float] = {}
    for unit, most in highest.items():
        if source.random() < 0.3:
            limit = source.uniform(0, most)
            limits[unit] = limit if unit == "usd" else int(limit)
    return Budget(**limits)  # type: ignore[arg-type]


@dataclass
class Flight:
    ledger: Ledger
    reservation: Reservation
    prompt: int
    granted: int


@dataclass
class Schedule:
    """Random operations on a random tree of ledgers, one at a time; the usage is counted apart from the ledger."""

    source: random.Random
    ledgers: list[Ledger] = field(default_factory=list)
    leaves: list[Ledger] = field(default_factory=list)
    flights: list[Flight] = field(default_factory=list)
    usage: dict[int, Cost] = field(default_factory=dict)
    clamped: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        root = Ledger(random_budget(self.source, OF_A_LEDGER), prices=PRICES)
        self.ledgers.append(root)
        self.leaves.append(root)
        for _ in range(self.source.randint(0, 3)):
            node = root
            for _ in range(self.source.randint(1, 2)):
                node = node.child(random_budget(self.source, OF_A_LEDGER))
                self.ledgers.append(node)
            self.leaves.append(node)

    def check(self, ledger: Ledger) -> None:
        for node in ledger.lineage:
            committed = node.settled + node.reserved
            for unit, measure in MEASURES.items():
                limit = getattr(node.budget, unit)
                assert limit is None or measure(committed) <= limit, (
                    unit,
                    committed,
                    node.budget,
                )

    def launch(self) -> None:
        ledger = self.source.choice(self.leaves)
        prompt, cap = self.source.randint(1, 300), self.source.choice([1, 8, 64, 512])

        def price(tokens: int) -> Cost:
            return booked(prompt, 0, tokens)

        try:
            granted = ledger.fit(price, max_tokens=cap)
        except BudgetExhausted:
            self.refused += 1
        else:
            self.clamped += granted < cap
            self.flights.append(
                Flight(ledger, ledger.reserve(price(granted)), prompt, granted)
            )
        self.check(ledger)

    def land(self) -> None:
        flight = self.flights.pop(self.source.randrange(len(self.flights)))
        cached = self.source.choice([0, 0, self.source.randint(0, flight.prompt - 1)])
        ending = self.source.choice(["cap", "early", "aborted", "unseen", "lost"])
        if ending == "cap":
            actual = booked(flight.prompt, cached, flight.granted)
        elif ending == "early":
            actual = booked(
                flight.prompt,
                cached,
                self.source.randint(0, flight.granted),
            )
        elif ending == "lost":
            actual = booked(flight.prompt, 0, flight.granted, cancelled=True)
        else:
            tokens = (
                self.source.randint(0, flight.granted) if ending == "aborted" else 0
            )
            actual = booked(flight.prompt, cached, tokens, cancelled=True)
        flight.ledger.settle(flight.reservation, actual)
        for node in flight.ledger.lineage:
            self.usage[id(node)] = self.usage.get(id(node), Cost()) + actual
        self.check(flight.ledger)
        if ending == "lost":
            self.launch()

    def run(self, steps: int, concurrency: int) -> None:
        for _ in range(steps):
            if len(self.flights) < concurrency and (
                not self.flights or self.source.random() < 0.6
            ):
                self.launch()
            else:
                self.land()
        while self.flights:
            self.land()
        for ledger in self.ledgers:
            assert ledger.settled.taking(0) == self.usage.get(id(ledger), Cost())
            assert (ledger.reserved, ledger.in_flight) == (Cost(), 0)


@widths("schedules", 2000, 100_000)
def test_random_schedules_never_overshoot_and_lose_nothing(schedules: int) -> None:
    clamped = refused = settled = 0
    for seed in range(schedules):
        source = random.Random(seed)
        schedule = Schedule(source)
        deep = seed % 50 == 0
        schedule.run(
            source.randint(80, 160) if deep else source.randint(2, 14),
            64 if deep else source.randint(1, 8),
        )
        clamped, refused = clamped + schedule.clamped, refused + schedule.refused
        settled += schedule.ledgers[0].settled.samples
    # What the schedules are worth: budgets did bite, and work was done all the same.
    assert clamped > schedules / 10
    assert refused > schedules
    assert settled > schedules


# The same through the runner


def chaotic(seed: int) -> Callable[[Question], Plan[Answer | None]]:
    """A plan that samples, scores, starts, waits and cancels as it likes, the budget notwithstanding."""

    def plan(question: Question) -> Plan[Answer | None]:
        source = random.Random(f"{seed} {question.id}")
        params = SamplingParams(max_tokens=source.choice([1, 5, 40]))
        running: list[Handle] = []
        seen = []
        for _ in range(source.randint(1, 14)):
            move = source.choice(
                [
                    "sample",
                    "start",
                    "start",
                    "start",
                    "next",
                    "cancel",
                    "score",
                    "propose",
                ]
            )
            try:
                if move == "sample":
                    seen += yield Sample(
                        (question.prompt,), source.randint(1, 4), params
                    )
                elif move == "start":
                    running.append(
                        (
                            yield Start(
                                Sample((question.prompt,), source.randint(1, 3), params)
                            )
                        )
                    )
                elif move == "next" and running:
                    finished = yield Next()
                    running.remove(finished.handle)
                    seen += finished.completions
                elif move == "cancel" and running:
                    yield Cancel(running.pop(source.randrange(len(running))))
                elif move == "score" and seen:
                    yield Score(question, tuple(seen[-3:]))
                elif move == "propose":
                    yield Propose(None, VoteState())
            except BudgetExhausted:
                if move == "next":
                    running.clear()
        return None

    return plan


@cases("part", range(12), thin=[0])
def test_a_run_books_what_the_engine_computed_and_never_overshoots(part: int) -> None:
    outcomes: set[str] = set()
    for seed in range(part * 150, part * 150 + 150):
        source = random.Random(seed)
        engine = ScriptedEngine(
            varied,
            pause=jumbled(seed, lost=source.choice([0.0, 0.1, 0.4])),
            block_size=source.choice([0, 2]),
            capacity=source.choice([None, 60, 200]),
        )
        judge = Judge()
        run, each = (
            random_budget(source, OF_A_RUN),
            random_budget(source, OF_A_RUN),
        )
        events: list[Event] = []
        solutions = asyncio.run(
            solve_many(
                [number_question(f"q{place}") for place in range(source.randint(1, 4))],
                Planned(chaotic(seed), uses_verifier=True),
                engine,
                verifier=judge,
                budget=run,
                each=each,
                prices=PRICES,
                trace=events.append,
                seed=seed,
            )
        )
        total = sum((solution.cost for solution in solutions), Cost())
        assert books(total) == meter_of(engine), seed
        assert total.verifier_tokens == sum(judge.spent), seed
        assert traced_cost(events).taking(0) == total.taking(0), seed
        ends = [
            event.cost.sequential_tokens for event in events if isinstance(event, Work)
        ]
        assert total.sequential_tokens <= max(ends, default=0), seed
        assert sum(isinstance(event, Ended) for event in events) == len(solutions)
        for bound, costs in (
            (run, [total]),
            (each, [solution.cost for solution in solutions]),
        ):
            for unit, measure in MEASURES.items():
                limit = getattr(bound, unit)
                assert limit is None or all(measure(cost) <= limit for cost in costs), (
                    seed,
                    unit,
                )
        assert all(
            solution.error is None or isinstance(solution.error, RequestLost)
            for solution in solutions
        ), seed
        outcomes.update(solution.ended_by for solution in solutions)
    assert outcomes == {"strategy", "budget", "error"}


@widths("runs", 60, 1000)
def test_a_run_cancelled_at_any_moment_books_what_the_engine_computed(
    runs: int,
) -> None:
    cut_short = 0
    for seed in range(runs):
        source = random.Random(seed)
        engine = ScriptedEngine(
            varied,
            pause=jumbled(seed, lost=0.1),
            block_size=2,
            capacity=source.choice([None, 60, 200]),
        )
        events: list[Event] = []

        async def interrupted(
            seed: int = seed,
            engine: ScriptedEngine = engine,
            events: list[Event] = events,
        ) -> bool:
            source = random.Random(-seed)
            run = asyncio.ensure_future(
                solve_many(
                    [number_question(f"q{place}") for place in range(3)],
                    Planned(chaotic(seed), uses_verifier=False),
                    engine,
                    budget=random_budget(source, OF_A_RUN),
                    prices=PRICES,
                    trace=events.append,
                    seed=seed,
                )
            )
            await turns(source.randint(0, 40))
            run.cancel()
            await asyncio.wait([run])
            return run.cancelled()

        cut_short += asyncio.run(interrupted())
        assert books(traced_cost(events)) == meter_of(engine), seed
        started = {event.question_id for event in events if isinstance(event, Began)}
        assert started == {
            event.question_id for event in events if isinstance(event, Ended)
        }, seed
    assert cut_short > runs / 3
