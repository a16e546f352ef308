"""A mixture of models: which member draws, which continues a chain, what is counted."""

import asyncio
from dataclasses import replace

import pytest

from reasoner import Answer, Question, SamplingParams, solve_many, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.mixture import MixtureEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.strategy import Plan, prefill, sample
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Planned, books, meter_of, says
from reasoner.trace.events import Event, Sampled
from reasoner.trace.history import read_histories
from reasoner.types import Completion, Prompt
from reasoner_strategies import SelfConsistency
from tests.execution.one_question import QUESTION

PARAMS = SamplingParams(max_tokens=40)


def two() -> tuple[MixtureEngine, ScriptedEngine, ScriptedEngine]:
    one = ScriptedEngine(says("7"))
    # Its ids differ: it has read something before.
    other = ScriptedEngine(says("8"))
    other._encode("some words come first")
    return MixtureEngine((one, other)), one, other


def test_samples_go_round_and_their_votes_are_one() -> None:
    mixture, one, other = two()
    events: list[Event] = []
    solution = solve_sync(
        QUESTION, SelfConsistency(5, PARAMS), mixture, trace=events.append
    )
    assert solution.error is None
    texts = {
        event.index: event.text[-1] for event in events if isinstance(event, Sampled)
    }
    assert texts == {0: "7", 1: "8", 2: "7", 3: "8", 4: "7"}
    assert (solution.answer and solution.answer.key) == "7"
    spent = tuple(map(sum, zip(meter_of(one), meter_of(other), strict=True)))
    assert books(solution.cost) == spent
    drawn = [event.usage for event in events if isinstance(event, Sampled)]
    flops = [one.model.flops_of(replace(usage, flops=None)) or 0 for usage in drawn]
    assert solution.cost.flops == sum(flops) > 0


def chains(question: Question) -> Plan[Answer | None]:
    prompts: list[Prompt] = [question.prompt]
    for _ in range(3):
        drawn: list[Completion] = []
        for prompt in prompts:
            drawn += yield from sample(
                prompt, n=2 if prompt is question.prompt else 1, params=PARAMS
            )
        prompts = [one.prompt.then(one) for one in drawn]
    return None


def test_a_chain_is_continued_by_who_began_it() -> None:
    seen: dict[str, list[Prompt]] = {"a": [], "b": []}

    def member(name: str) -> ScriptedEngine:
        def script(request: SampleRequest) -> str:
            seen[name].append(request.prompt)
            return f"{name} says more"

        return ScriptedEngine(script)

    solution = solve_sync(
        QUESTION, Planned(chains), MixtureEngine((member("a"), member("b")))
    )
    assert solution.error is None
    for name in "ab":
        assert [prompt.text.count(f"{name} says more") for prompt in seen[name]] == [
            0,
            1,
            2,
        ]


def test_a_run_that_was_interrupted_anywhere_continues_its_chains() -> None:
    def members() -> MixtureEngine:
        return MixtureEngine(
            (ScriptedEngine(says("a says more")), ScriptedEngine(says("b says more")))
        )

    def sequences(events: list[Event]) -> set[tuple[str, int, str]]:
        return {
            (event.prompt, event.index, event.text)
            for event in events
            if isinstance(event, Sampled)
        }

    whole: list[Event] = []
    solve_sync(QUESTION, Planned(chains), members(), trace=whole.append)
    assert len(sequences(whole)) == 6
    for cut in range(1, len(whole)):
        before, after = whole[:cut], list[Event]()
        mixture = members()
        resumed = solve_many(
            [QUESTION],
            Planned(chains),
            mixture,
            trace=after.append,
            history=read_histories(before),
        )
        [solution] = asyncio.run(resumed)
        assert solution.error is None
        assert sequences([*before, *after]) == sequences(whole)


def test_a_chain_that_nobody_here_began_is_refused() -> None:
    mixture, _, _ = two()
    with pytest.raises(UsageError, match="no member of the mixture began"):
        asyncio.run(mixture.render(QUESTION.prompt.extended("x", (1,))))


def test_words_cannot_be_forced_into_a_mixture() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        yield from prefill(question.prompt, "Wait")
        return None

    mixture, _, _ = two()
    solution = solve_sync(QUESTION, Planned(plan), mixture)
    assert isinstance(solution.error, UsageError)
    assert "use one engine" in str(solution.error)


def test_it_is_built_from_specs() -> None:
    mixture = build(
        "engine",
        "mixture:members=[simulated(answers=7,tokens=2),simulated(answers=8,tokens=3)]",
    )
    assert mixture == MixtureEngine(
        (SimulatedEngine(("7",), tokens=2.0), SimulatedEngine(("8",), tokens=3.0))
    )
    with pytest.raises(UsageError, match="at least two engines"):
        build("engine", "mixture:members=simulated")
    solution = solve_sync(QUESTION, SelfConsistency(4, PARAMS), mixture)
    assert {vote.answer.key for vote in solution.vote_state.votes} == {"7", "8"}
    assert mixture.name == "simulated + simulated"
    assert mixture.model.name == "simulated + simulated"


def test_a_thinking_level_chooses_the_member() -> None:
    members = ",".join(f"simulated(answers={answer},tokens=2)" for answer in (7, 8, 9))
    mixture = build("engine", f"mixture:members=[{members}],levels=[none]")

    def votes(strategy: str) -> dict[str, int]:
        state = solve_sync(QUESTION, build("strategy", strategy), mixture).vote_state
        return {vote.answer.key: vote.count for vote in state.votes}

    assert votes("self_consistency:n=4,thinking=none") == {"7": 4}
    assert votes("self_consistency:n=4") == {"8": 2, "9": 2}
    assert votes("escalate:first=none") == {"7": 2}
    with pytest.raises(
        UsageError, match=r"levels must be fewer than the members \(got 3 for 3\)"
    ):
        build("engine", f"mixture:members=[{members}],levels=[none,low,high]")


def test_weights_share_the_samples() -> None:
    members = ",".join(f"simulated(answers={answer},tokens=2)" for answer in (7, 8, 9))

    def drawn(options: str, thinking: str = "") -> list[str]:
        events: list[Event] = []
        mixture = build("engine", f"mixture:members=[{members}],{options}")
        solve_sync(
            QUESTION,
            build("strategy", f"self_consistency:n=8{thinking}"),
            mixture,
            trace=events.append,
        )
        texts = {
            event.index: event.text[-1]
            for event in events
            if isinstance(event, Sampled)
        }
        return [texts[index] for index in sorted(texts)]

    assert "".join(drawn("weights=[1,2,1]")) == "87988798"
    assert "".join(drawn("levels=[none],weights=[1,3]")) == "98999899"
    assert set(drawn("levels=[none],weights=[1,3]", ",thinking=none")) == {"7"}
    for options, message in (
        (
            "weights=[1,2]",
            r"weights must be one for each member without a level \(got 2 for 3\)",
        ),
        ("weights=[1,2,0]", r"weights must be .*\(got 0\)"),
    ):
        with pytest.raises(UsageError, match=message):
            drawn(options)
