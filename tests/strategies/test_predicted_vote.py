"""The vote that running chains stop: what they say, what it costs, and that the replies alone decide."""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from reasoner import Budget, Completion, Question, Solution, solve
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.chains import PROBE_TOKENS
from reasoner.engines.pool import PoolEngine
from reasoner.engines.replay import ReplayEngine
from reasoner.registry import build
from reasoner.testing.support import course, traced_cost, write_trace
from reasoner.trace.events import AnswerExtracted, Event, Sampled
from reasoner.trace.history import read_histories

QUESTION = Question.of("q", space="number", id="q")
Chain = tuple[str, str]
"""The answers of a chain's probes, one a token, and its own answer; E is one that cannot be read."""


class Jumbled(PoolEngine):
    """Its replies come in a random order."""

    source = random.Random(0)

    async def sample(self, request: SampleRequest) -> Completion:
        for _ in range(self.source.randrange(9)):
            await asyncio.sleep(0)
        return await super().sample(request)


class Seen(NamedTuple):
    answer: str | None
    lengths: tuple[int, ...]
    """The tokens of each chain."""
    probes: int
    solution: Solution
    events: list[Event]


def engine_of(replies: Sequence[Chain], path: Path) -> Jumbled:
    recorded = [
        {
            "probes": [["ERR" if said == "E" else said, 1] for said in probes],
            "tokens": len(probes) + 1,
            "answer": answer,
        }
        for probes, answer in replies
    ]
    path.write_text(json.dumps({"question_id": "q", "every": 1, "chains": recorded}))
    return Jumbled(str(path))


async def solved(
    engine: Engine,
    spec: str,
    *,
    events: Sequence[Event] = (),
    budget: Budget | None = None,
) -> Seen:
    """The solution, after these events of an earlier run."""
    known, seen = read_histories(list(events)), list(events)
    strategy = build("strategy", f"self_consistency(max_tokens=99,{spec})")
    solution = await solve(
        QUESTION, strategy, engine, trace=seen.append, history=known, budget=budget
    )
    assert solution.error is None
    lengths = Counter[int]()
    for event in seen:
        if isinstance(event, Sampled) and (
            mark := re.match(r"\[chain (\d+): (\d+) of", event.thinking)
        ):
            lengths[int(mark[1])] = int(mark[2])
    probes = sum(isinstance(event, AnswerExtracted) for event in seen)
    asked = (
        PROBE_TOKENS * probes
        if budget is None
        else solution.cost.generated_tokens - sum(lengths.values())
    )
    assert solution.cost.generated_tokens == sum(lengths.values()) + asked
    key = solution.answer.key if solution.answer else None
    return Seen(
        key,
        tuple(lengths[at] for at in range(max(lengths) + 1)),
        probes,
        solution,
        seen,
    )


def run(replies: Sequence[Chain], spec: str, path: Path) -> Seen:
    return asyncio.run(solved(engine_of(replies, path), f"n={len(replies)},{spec}"))


PREDICT = "stop=predict(every=1)"
SHORT, LONG, OTHER = ("8", "8"), ("8" * 9, "8"), ("9" * 9, "9")


@pytest.mark.parametrize(
    ("replies", "answer", "lengths", "probes"),
    [
        # Stragglers say what it says.
        ([SHORT] * 2 + [LONG] * 14, "8", (2,) * 16, 14),
        # They say otherwise, and are asked after every token until there is nothing left to ask.
        ([SHORT] * 2 + [OTHER] * 14, "9", (2, 2, *[10] * 14), 8 * 14),
        # They say nothing that can be read.
        ([SHORT] * 2 + [("E" * 9, "9")] * 14, "9", (2, 2, *[10] * 14), 8 * 14),
    ],
)
def test_stragglers_end_the_vote_or_not(
    replies: list[Chain],
    answer: str,
    lengths: tuple[int, ...],
    probes: int,
    tmp_path: Path,
) -> None:
    seen = run(replies, PREDICT, tmp_path / "p")
    assert (seen.answer, seen.lengths, seen.probes) == (answer, lengths, probes)


def drawn(seed: int) -> list[Chain]:
    """Twelve chains of 2 to 15 tokens that come to one answer more and more often."""
    source = random.Random(seed)
    lengths = [source.randint(1, 14) for _ in range(12)]
    return [
        (
            "".join(source.choice("7" * (at // 2) + "789E") for at in range(length)),
            source.choice("7789"),
        )
        for length in lengths
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_replies_alone_decide_whatever_comes_first_is_killed_or_is_replayed(
    seed: int, tmp_path: Path
) -> None:
    spec = "n=12,window=4,stop=predict(every=2,z=1)"

    async def check() -> None:
        engine = engine_of(drawn(seed), tmp_path / "p")
        whole = await solved(engine, spec)
        assert whole.probes
        assert traced_cost(whole.events).tokens == whole.solution.cost.tokens
        for moment in random.Random(seed).sample(range(len(whole.events)), 12):
            again = await solved(engine, spec, events=whole.events[:moment])
            assert (course(again.solution), again.lengths) == (
                course(whole.solution),
                whole.lengths,
            )
            names = Counter(
                (event.prompt, event.index)
                for event in again.events
                if isinstance(event, Sampled)
            )
            assert max(names.values()) == 1
        replay = ReplayEngine(str(write_trace(tmp_path / "t", whole.events)))
        await replay.start()
        assert course((await solved(replay, spec)).solution) == course(whole.solution)

    asyncio.run(check())


@pytest.mark.parametrize("seed", range(4))
def test_a_rule_that_is_never_sure_has_the_answer_of_the_whole_vote(
    seed: int, tmp_path: Path
) -> None:
    replies = [
        ("E" * random.Random(f"{seed} {at}").randint(1, 9), "78"[at % 2])
        for at in range(12)
    ]
    seen = run(
        replies, "window=5,stop=predict(every=2,z=1e9,hopeless=1e-99)", tmp_path / "p"
    )
    assert seen.answer == run(replies, "order=length", tmp_path / "q").answer == "7"
    assert seen.lengths == tuple(len(probes) + 1 for probes, _ in replies)


def test_twice_as_many_run_once_eight_have_ended(tmp_path: Path) -> None:
    replies = [("", str(at)) for at in range(15)]
    seen = run(replies, "window=3,stop=predict(every=1,hopeless=1e-99)", tmp_path / "p")
    # Three rounds of three, then one of six: a chain of one token takes a round.
    assert seen.solution.cost.sequential_tokens == 3 + 1


def test_a_budget_that_ends_loses_no_answer(tmp_path: Path) -> None:
    engine = engine_of([SHORT, *[OTHER] * 7], tmp_path / "p")
    for tokens in (30, 60, 120):
        seen = asyncio.run(
            solved(engine, f"n=8,{PREDICT}", budget=Budget(generated=tokens))
        )
        assert seen.solution.cost.generated_tokens <= tokens
        assert seen.answer == "8"


@pytest.mark.parametrize(
    "spec", ["order=launch,stop=predict", "when_full=drop,stop=predict"]
)
def test_elsewhere_the_rule_sees_what_has_ended(spec: str, tmp_path: Path) -> None:
    seen = run([("8", "8")] * 16, spec, tmp_path / "p")
    assert (seen.answer, seen.probes) == ("8", 0)
    assert seen.solution.reason.startswith("BetaRule: ")
