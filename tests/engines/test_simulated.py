"""The simulated engine draws from known laws: its statistics are compared with their exact values."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from statistics import NormalDist, fmean

import pytest

from reasoner import Question, Solution, solve_many_sync, solve_sync
from reasoner.engine import Engine
from reasoner.engines.chains import ChainLaw
from reasoner.engines.simulated import Law, SimulatedEngine
from reasoner.engines.simulated_replies import arithmetic
from reasoner.errors import UsageError
from reasoner.strategy import Plan, Sample, sample
from reasoner.testing.support import Planned, number_question
from reasoner.trace.events import Event, Sampled, Scored
from reasoner.types import (
    Answer,
    Completion,
    Message,
    Prompt,
    SamplingParams,
    ThinkingLevel,
)
from reasoner_strategies import BestOfN, SelfConsistency
from reasoner_strategies.code_interpreter import trial_answer
from reasoner_verifiers import Certainty
from reasoner_verifiers.certainty import Measure
from tests.helpers import auroc
from tests.sweeps import widths

questions = widths("count", 300, 4000)
NORMAL = NormalDist()


def majority_is_right(weights: tuple[float, ...], n: int) -> float:
    """P(the first answer wins a vote of n), ties going to the earliest of the tied: by enumeration, with the last
    weight that of no answer at all."""
    total = 0.0
    for draws in itertools.product(range(len(weights)), repeat=n):
        votes = [draw for draw in draws if draw < len(weights) - 1]
        if (
            votes
            and max(votes, key=lambda vote: (votes.count(vote), -votes.index(vote)))
            == 0
        ):
            total += math.prod(weights[draw] for draw in draws)
    return total


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 5])
@questions
def test_a_majority_is_right_as_often_as_it_should_be(n: int, count: int) -> None:
    silent = 0.2
    law = Law(("7", "8", "9"), (0.5, 0.3, 0.2), silent=silent, tokens=10)
    engine = SimulatedEngine(laws={f"q{place}": law for place in range(count)})
    strategy = SelfConsistency(n=n, params=SamplingParams(max_tokens=10_000))
    solutions = solve_many_sync(
        [number_question(f"q{place}") for place in range(count)], strategy, engine
    )
    right = (
        sum(
            solution.answer is not None and solution.answer.key == "7"
            for solution in solutions
        )
        / count
    )
    exact = majority_is_right((0.4, 0.24, 0.16, silent), n)
    assert abs(right - exact) < 3 * math.sqrt(exact * (1 - exact) / count)


@questions
def test_lengths_average_as_the_law_says_and_the_cut_share_is_exponential(
    count: int,
) -> None:
    events: list[Event] = []
    engine = SimulatedEngine(answers=("7",), weights=(), tokens=50)
    strategy = SelfConsistency(n=count, params=SamplingParams(max_tokens=10_000))
    solution = solve_sync(number_question(), strategy, engine)
    assert abs(solution.cost.generated_tokens / count - 50) < 3 * 50 / math.sqrt(count)
    cut = SelfConsistency(n=count, params=SamplingParams(max_tokens=50))
    solve_sync(number_question(), cut, engine, trace=events.append)
    share = (
        sum(isinstance(e, Sampled) and e.finish_reason == "length" for e in events)
        / count
    )
    exact = math.exp(-50.5 / 50)
    assert abs(share - exact) < 3 * math.sqrt(exact * (1 - exact) / count)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"answers": ("1", "2"), "weights": (1.0,)}, "1 weights for 2 answers"),
        ({"weights": (0.0, 0.0, 0.0)}, "weights must be at least 0"),
    ],
)
def test_a_law_that_is_none_is_refused(
    options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UsageError, match="answers must not be empty"):
        Law(())
    with pytest.raises(UsageError, match=complaint):
        SimulatedEngine(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("What is 3 + 4?", "7"),
        ("what is 7 x 8", "56"),
        ("3+4=?", "7"),
        ("Compute (2 + 3) * 4 - 1.", "19"),
        ("How much is 10 divided by 4?", "5/2"),
        ("A document.\n\nWhat is 12 times 3?\n\nGive the answer as a number.", "36"),
        ("What is \u22125 \u00d7 3?", "-15"),
        ("What is 1 / 0?", None),
        ("How many?", None),
        ("What is 7?", None),
        ("A box holds 3 apples and 4 more are added. How many are in it?", None),
        ("Is this right? What is 3 + 4? The answer is 8", None),
        ("What is 3 + x?", None),
        ("What is 9" + " * 9" * 5000 + "?", None),
    ],
)
def test_only_what_is_arithmetic_and_nothing_else_is_computed(
    text: str, value: str | None
) -> None:
    found = arithmetic(text)
    assert (None if found is None else str(found)) == value


@pytest.mark.parametrize("odds", [None, 1.0, 3.0])
@questions
def test_a_reply_takes_over_shown_answers_by_their_odds_whatever_else_the_prompt_says(
    odds: float | None, count: int
) -> None:
    replies = list[Completion]()

    def plan(question: Question) -> Plan[Answer | None]:
        shown = "Candidates:\n\nThe answer is 7.\n\nThe answer is 8\n\nThe answer is 17"
        turns = (
            *question.prompt.messages,
            Message("assistant", shown),
            Message("user", "Which is right? Solve it."),
        )
        replies.extend(
            (
                yield from sample(
                    Prompt(turns), n=count, params=SamplingParams(max_tokens=10_000)
                )
            )
        )
        return None

    solve_many_sync(
        [Question.of("What is 3 + 4?")],
        Planned(plan),
        SimulatedEngine(accuracy=0.4, odds=odds),
    )
    right = sum(reply.text == "The answer is 7" for reply in replies) / count
    exact = 0.4 if odds is None else 0.3 * 0.4 + 0.7 * odds / (odds + 2)
    assert abs(right - exact) < 3.5 * math.sqrt(exact * (1 - exact) / count)


@pytest.mark.parametrize("accuracy", [0.75, 1.0])
@questions
def test_arithmetic_is_right_as_often_as_it_is_said(
    accuracy: float, count: int
) -> None:
    engine, strategy = (
        SimulatedEngine(accuracy=accuracy),
        SelfConsistency(n=1, params=SamplingParams(max_tokens=10_000)),
    )
    asked = [
        Question.of("What is 2 / 8?", space="number", id=f"q{place}")
        for place in range(count)
    ]
    solutions = solve_many_sync(asked, strategy, engine)
    right = (
        sum(
            solution.answer is not None and solution.answer.text == "0.25"
            for solution in solutions
        )
        / count
    )
    assert abs(right - accuracy) <= 3 * math.sqrt(accuracy * (1 - accuracy) / count)
    assert f"arithmetic is right in {accuracy:.0%} of samples" in engine.notes[0]


@pytest.mark.parametrize(
    ("measure", "certainty"),
    [("likelihood", 0.5), ("self_certainty", 0.7), ("lowest_group", 0.9)],
)
@questions
def test_right_replies_are_surer_than_wrong_ones_as_often_as_it_is_said(
    measure: Measure, certainty: float, count: int
) -> None:
    events = list[Event]()
    engine = SimulatedEngine(accuracy=0.5, certainty=certainty)
    strategy = BestOfN(n=count, params=SamplingParams(max_tokens=10_000))
    solve_sync(
        Question.of("What is 3 + 4?"),
        strategy,
        engine,
        verifier=Certainty(measure),
        trace=events.append,
    )
    right = {
        event.index: event.text == "The answer is 7"
        for event in events
        if isinstance(event, Sampled)
    }
    rated = [
        (event.value or 0.0, right[event.index])
        for event in events
        if isinstance(event, Scored)
    ]
    assert len(rated) == count
    found = auroc(rated)
    assert abs(found - certainty) < 3.5 * math.sqrt(1 / (6 * count))


MEDIAN, ACCURACY, GUESS = 100.0, 0.7, 0.3
LAW = ChainLaw(MEDIAN, ACCURACY)
QUESTION, KIND = next(
    (question, kind)
    for question in (
        Question.of(f"What is 3 + {k}?", space="number") for k in range(100)
    )
    if 0.4 < (kind := LAW.question(question.id)).chance < 0.8
)
RIGHT = str(arithmetic(QUESTION.text))


def thinker(thinking: float = MEDIAN) -> SimulatedEngine:
    return SimulatedEngine(thinking=thinking, accuracy=ACCURACY, guess=GUESS, tokens=5)


def run_plan(
    plan: Callable[[Question], Plan[Answer | None]], engine: Engine
) -> Solution:
    [solution] = solve_many_sync([QUESTION], Planned(plan), engine)
    assert solution.error is None
    return solution


def drawn(
    level: ThinkingLevel | None,
    count: int,
    max_tokens: int = 100_000,
    then: tuple[Message, ...] = (),
) -> list[Completion]:
    """As many samples of one question at a level, `then` after it."""
    completions = list[Completion]()

    def plan(question: Question) -> Plan[Answer | None]:
        prompt = Prompt((*question.prompt.messages, *then)).at_level(level)
        completions.extend((yield from sample(prompt, n=count, params=params)))
        return None

    params = SamplingParams(max_tokens=max_tokens)
    run_plan(plan, thinker())
    return completions


def known(limit: float, median: float) -> float:
    """The chance that a chain of this median length knows its answer by a limit: E[min(1, limit / length)^2]."""
    at, sigma = math.log(limit / median), LAW.within
    return NORMAL.cdf(at / sigma) + math.exp(2 * at + 2 * sigma**2) * NORMAL.cdf(
        -at / sigma - 2 * sigma
    )


def mean_length(limit: float, median: float) -> float:
    """E[min(length, limit)]."""
    at, sigma = math.log(limit / median), LAW.within
    whole = median * math.exp(sigma**2 / 2) * NORMAL.cdf(at / sigma - sigma)
    return whole + limit * NORMAL.cdf(-at / sigma)


@widths("count", 600, 6000)
@pytest.mark.parametrize("level", [20, 100, 400, "none", "low", "high", None])
def test_accuracy_and_length_follow_the_stated_law(
    level: ThinkingLevel | None, count: int
) -> None:
    samples, (median, chance) = drawn(level, count), KIND
    limits = {"none": 0.0, "low": 0.25 * MEDIAN, "high": 4 * MEDIAN, None: 1e9}
    limit = level if isinstance(level, int) else limits[level]
    thought = [completion.usage.thinking_tokens for completion in samples]
    exact, length = GUESS, 0.0
    if limit:
        medians = (chance, median), (1 - chance, median * LAW.wrong)
        knows = [share * known(limit, each) for share, each in medians]
        exact = knows[0] + GUESS * (1 - sum(knows))
        length = sum(share * mean_length(limit, each) for share, each in medians)
    right = sum(completion.text.endswith(f" {RIGHT}") for completion in samples) / count
    assert abs(right - exact) < 3.5 * math.sqrt(exact * (1 - exact) / count)
    assert max(thought) <= limit
    assert abs(sum(thought) / count - length) < 4 * 0.5 * length / math.sqrt(count) + 1


@questions
def test_a_prompt_with_replies_is_as_hard_as_its_question(count: int) -> None:
    turns = (
        Message("assistant", f"The answer is {int(RIGHT) + 1}"),
        Message("user", "That may be wrong. Check it."),
    )
    plain, again = (drawn(None, count, then=then) for then in ((), turns))
    lengths = [
        [completion.usage.thinking_tokens for completion in each]
        for each in (plain, again)
    ]
    assert fmean(lengths[1]) == pytest.approx(
        fmean(lengths[0]), rel=4 * 0.5 / math.sqrt(count)
    )
    right = [
        sum(completion.text.endswith(f" {RIGHT}") for completion in each) / count
        for each in (plain, again)
    ]
    assert right[1] == pytest.approx(right[0], abs=4 * math.sqrt(0.5 / count))


def test_thinking_that_is_cut_has_no_answer_and_is_unclosed() -> None:
    for completion in drawn(None, 50, max_tokens=40):
        assert completion.unclosed == (
            completion.usage.thinking_tokens == 40 and completion.token_ids[-1] != -3
        )
        assert completion.truncated == (completion.finish_reason == "length")
        assert completion.text == (
            "" if completion.unclosed else "The answer is 7"[: len(completion.text)]
        )


@pytest.mark.parametrize("level", [None, 60])
def test_a_chain_in_parts_is_the_whole_chain_and_a_probe_tells_its_last_answer(
    level: int | None,
) -> None:
    whole = drawn(level, 8)
    parts, probes = dict[int, list[Completion]](), dict[int, list[Answer | None]]()

    def plan(question: Question) -> Plan[Answer | None]:
        prompt = question.prompt.at_level(level)
        drawn = yield from sample(prompt, n=8, params=SamplingParams(max_tokens=9))
        for index, part in enumerate(drawn):
            parts[index], probes[index], last = [part], [], part
            while last.unclosed:
                probes[index].append(
                    (yield from trial_answer(question, last.prompt.then(last), params))
                )
                op = Sample(
                    (last.prompt.then(last),),
                    params=SamplingParams(max_tokens=9),
                    branch=index % 2,
                )
                [last] = yield op
                parts[index].append(last)
            probes[index].append(
                (yield from trial_answer(question, last.prompt.then(last), params))
            )
        return None

    params = SamplingParams()
    run_plan(plan, thinker())
    for index, completion in enumerate(whole):
        thought = [part.usage.thinking_tokens for part in parts[index]]
        assert sum(thought) == completion.usage.thinking_tokens
        assert [part.usage.cached_tokens for part in parts[index]] == [
            9 * place for place in range(len(thought))
        ]
        answers = [probed.text for probed in probes[index] if probed]
        assert len(answers) == len(thought)
        assert completion.text == f"The answer is {answers[-1]}"


def test_continuations_of_one_chain_differ_and_an_answer_before_it_is_known_changes() -> (
    None
):
    answers, lengths = set[str](), set[int]()

    def plan(question: Question) -> Plan[Answer | None]:
        [part] = yield from sample(question.prompt, params=SamplingParams(max_tokens=5))
        for branch in (
            yield from sample(part.prompt.then(part), n=8, params=SamplingParams())
        ):
            lengths.add(branch.usage.thinking_tokens)
        for _ in range(20):
            [part] = yield from sample(
                part.prompt.then(part), params=SamplingParams(max_tokens=5)
            )
            probed = yield from trial_answer(
                question, part.prompt.then(part), SamplingParams()
            )
            answers.add(probed.text if probed else "")
        return None

    run_plan(plan, thinker(thinking=1000))
    assert len(lengths) == 8
    assert len(answers) > 1


RECORDED = {"right": (6061, 9071, 14278), "wrong": (17344, 23138, 28990)}
"""Quartiles of the lengths of 2,907 right and 933 wrong chains of Qwen3-8B on AIME 2024."""
KNOWN, VOTES = (
    {0.25: 0.061, 0.5: 0.235, 0.75: 0.526},
    {1: 0.757, 4: 0.805, 16: 0.811, 64: 0.804},
)
"""The share of these chains that know their answer by a share of their length, and the accuracy of votes of them."""


@pytest.mark.slow
def test_the_law_of_chains_fits_what_was_recorded() -> None:
    law, source = ChainLaw(10_330, 0.757), random.Random(1)
    questions = [
        [
            law.chain(law.question(f"q{number}"), source.getrandbits(31))
            for _ in range(64)
        ]
        for number in range(1500)
    ]
    chains = list(itertools.chain(*questions))
    for name, quartiles in RECORDED.items():
        lengths = sorted(
            chain.tokens for chain in chains if chain.right == (name == "right")
        )
        simulated = [lengths[len(lengths) * quarter // 4] for quarter in (1, 2, 3)]
        assert simulated == pytest.approx(quartiles, rel=0.25)
        assert simulated[1] == pytest.approx(quartiles[1], rel=0.1)
    for share, exact in KNOWN.items():
        assert sum(chain.knows <= share * chain.tokens for chain in chains) / len(
            chains
        ) == pytest.approx(exact, abs=0.04)
    for size, exact in VOTES.items():
        won = 0
        for question in questions:
            votes = Counter(
                "right" if chain.right else source.choice("abc")
                for chain in question[:size]
            )
            top = [
                answer
                for answer, count in votes.items()
                if count == max(votes.values())
            ]
            won += source.choice(top) == "right"
        assert won / len(questions) == pytest.approx(exact, abs=0.04)
