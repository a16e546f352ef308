"""Auto: what it chooses by a profile, how it continues from the samples it has drawn, and when it abstains."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner import Question, Solution, solve_sync
from reasoner.budget import Budget
from reasoner.calibration.profile import Bins, Trust
from reasoner.errors import UnknownName, UsageError
from reasoner.registry import build
from reasoner.strategy import CalibratedStrategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    Judge,
    books,
    meter_of,
    number_question,
    says,
    varied,
)
from reasoner.types import SamplingParams
from reasoner_strategies import SelfConsistency
from reasoner_strategies.auto import Auto, Effort
from tests.calibration.profiles import (
    ONE,
    VOTE,
    bin_of,
    calibrated,
    family,
    row,
    write_profile,
)

QUESTION = number_question()
EFFORTS: tuple[Effort, ...] = ("low", "medium", "high")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "profile.json"


def solved(
    strategy: Auto,
    *keys: str,
    question: Question = QUESTION,
    budget: Budget | None = None,
) -> Solution:
    judge = Judge() if strategy.uses_verifier else None
    engine = ScriptedEngine(says(*keys) if keys else varied)
    solution = solve_sync(question, strategy, engine, budget=budget, verifier=judge)
    assert solution.error is None
    assert books(solution.cost) == meter_of(engine)
    return solution


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


# Without a profile


def test_without_a_profile_it_votes_until_the_lead_is_safe() -> None:
    drawn = []
    for effort in EFFORTS:
        solution = solved(Auto(effort=effort), "7")
        assert (key(solution), solution.ended_by, solution.confidence) == (
            "7",
            "rule",
            None,
        )
        assert solution.remarks[0].startswith("chose a vote of up to 16")
        drawn.append(solution.vote_state.samples)
    assert drawn == sorted(set(drawn))


# With one


def test_a_profile_without_sequential_tokens_gives_no_latency(file: Path) -> None:
    rows = [
        one.model_copy(update={"sequential_tokens": None})
        for one in bin_of(0, 0.5, 0.8)
    ]
    with pytest.raises(UsageError, match="this profile has none: calibrate again"):
        Auto(calibrated(file, rows), prefer="latency")


@pytest.mark.parametrize(
    ("gain", "effort", "samples"),
    [
        ((0.7, 0.7), "medium", 1),
        ((0.5, 0.8), "medium", 16),
        *(((0.51, 0.56), e, n) for e, n in zip(EFFORTS, (1, 16, 16), strict=True)),
    ],
)
def test_votes_are_drawn_as_far_as_they_buy_accuracy(
    file: Path, gain: tuple[float, float], effort: Effort, samples: int
) -> None:
    """15 more samples gain 5 points, which `low` may lose and the others may not."""
    solution = solved(
        Auto(calibrated(file, bin_of(0, *gain)), effort=effort), "7", "8", "8"
    )
    assert (key(solution), solution.cost.samples) == (
        "7" if samples == 1 else "8",
        samples,
    )
    assert solution.remarks[0].startswith(f"chose {ONE if samples == 1 else VOTE}: ")


def test_an_arm_that_was_measured_within_a_budget_is_not_chosen(file: Path) -> None:
    """A plan cannot keep to one: what is served would not be what was measured."""
    rows = bin_of(0, 0.5, 0.6, **{"short_m_at_k:k=4,m=3": (0.6, 4)})
    assert solved(Auto(calibrated(file, rows)), "7").cost.samples == 4
    within = tuple(
        one.model_copy(update={"budget": "tokens=100"}) if one.samples == 4 else one
        for one in rows
    )
    assert solved(Auto(calibrated(file, within)), "7").cost.samples == 16


# Difficulty


HARD_IS_LONG = Bins(signal="prompt", edges=(40.0,))
HARD_IS_SPLIT = Bins(signal="split", edges=(1.0,))


def test_the_vote_continues_from_the_samples_that_were_looked_at(file: Path) -> None:
    """What it answers and what it costs is what the arm alone would, but for the wait: nothing is drawn twice."""
    auto = Auto(
        calibrated(file, (*bin_of(0, 0.5, 0.8), *bin_of(1, 0.7, 0.7)), HARD_IS_SPLIT)
    )
    split = solved(auto, "7", "8", "8")
    alone = solve_sync(
        QUESTION, build("strategy", VOTE), ScriptedEngine(says("7", "8", "8"))
    )
    assert (split.answer, split.vote_state, split.cost.taking(0).until(5)) == (
        alone.answer,
        alone.vote_state,
        alone.cost.taking(0),
    )
    assert split.cost.sequential_tokens == 2 * alone.cost.sequential_tokens
    assert len(split.remarks) == 1
    agreed = solved(auto, "7")
    assert (agreed.cost.samples, agreed.vote_state.samples) == (4, 1)


def test_another_kind_of_arm_draws_again_and_says_so(file: Path) -> None:
    rows = (
        *bin_of(0, 0.5, 0.6, **{"best_of_n:n=2,selector=weighted": (0.9, 2)}),
        *bin_of(1, 0.7, 0.7),
    )
    auto = Auto(calibrated(file, rows, HARD_IS_SPLIT))
    assert auto.uses_verifier
    solution = solved(auto, "7", "8")
    assert (solution.cost.samples, solution.vote_state.samples) == (6, 2)
    assert (
        "not used by this strategy: 4 samples drawn to measure difficulty"
        in solution.remarks[1]
    )
    cut = solved(auto, "7", "8", "8", budget=Budget(samples=4))
    assert (key(cut), cut.ended_by) == ("7", "budget")
    unsure = solved(
        replace(auto, abstain_below=0.8), "7", "8", "8", budget=Budget(samples=4)
    )
    assert (unsure.answer, unsure.vote_state.samples) == (None, 4)


def test_only_what_may_be_chosen_needs_a_verifier(file: Path) -> None:
    rating = row("best_of_n", 0.4, 16, vote=0.7)
    assert not Auto(calibrated(file, (*bin_of(0, 0.7, 0.7), rating))).uses_verifier
    better = row("best_of_n:n=4", 0.95, 4, vote=0.7).model_copy(
        update={"verifier": "certainty"}
    )
    auto = Auto(calibrated(file, (*bin_of(0, 0.7, 0.7), better)))
    assert (auto.uses_verifier, auto.verifiers) == (True, ("certainty",))


# Trust


def test_confidence_is_what_a_vote_like_this_was_worth(file: Path) -> None:
    auto = Auto(calibrated(file, bin_of(0, 0.5, 0.8)))
    assert isinstance(auto, CalibratedStrategy)
    solution = solved(auto, "7", "7", "7", "8")
    assert solution.confidence == pytest.approx((12 + 1) / (16 + 2))
    assert solve_sync(QUESTION, auto, ScriptedEngine(says(""))).confidence is None
    assert solved(Auto(), "7").confidence is None


def test_each_arm_has_the_confidence_that_was_measured_of_it(file: Path) -> None:
    """One sample is right in 70 %, whatever its share is; the other bin has the curve of its vote."""
    one = Trust(
        intercept=math.log(0.7 / 0.3) - math.log(2),
        slope=1,
        shares=(2 / 3,),
        answered=(400,),
        right=(280,),
    )
    rows = (*bin_of(0, 0.7, 0.7), *bin_of(1, 0.5, 0.8))
    rows = tuple(
        each.model_copy(update={"trust": one}) if each.strategy == ONE else each
        for each in rows
    )
    auto = Auto(calibrated(file, rows, HARD_IS_LONG))
    long = Question.of("How many? " * 9, space="number", id="q")
    assert solved(auto, "7").confidence == pytest.approx(0.7)
    assert solved(auto, "7", "7", "7", "8", question=long).confidence == pytest.approx(
        (12 + 1) / (16 + 2)
    )


def test_who_may_abstain_draws_more_than_one_sample(file: Path) -> None:
    """One sample is all that is needed, but it cannot tell which answers are sure."""
    assert (
        solved(
            Auto(calibrated(file, bin_of(0, 0.7, 0.7)), abstain_below=0.01), "7"
        ).cost.samples
        == 16
    )


@pytest.mark.parametrize(
    ("keys", "given"), [("7", True), ("7778", True), ("78", False), ("789", False)]
)
def test_below_the_confidence_asked_for_it_says_nothing(
    file: Path, keys: str, given: bool
) -> None:
    auto = Auto(calibrated(file, bin_of(0, 0.5, 0.8)), abstain_below=0.7)
    solution = solved(auto, *keys)
    assert (solution.answer is not None, solution.ended_by) == (
        given,
        "strategy" if given else "rule",
    )
    assert solution.vote_state.leader is not None
    assert solution.confidence is not None
    assert (solution.confidence >= 0.7) == given
    assert given or "not sure" in solution.reason
    assert solution.proposals[-1].answer == solution.answer


@pytest.mark.parametrize(("keys", "given"), [("7", True), ("78", False)])
def test_at_the_risk_asked_for_it_gives_only_sure_answers(
    file: Path, keys: str, given: bool
) -> None:
    """Of votes with a share of 0.9 all were right, and of the others hardly any."""
    sure = Trust(
        intercept=0, slope=1, shares=(0.5, 0.9), answered=(100, 300), right=(10, 300)
    )
    rows = tuple(
        each.model_copy(update={"trust": sure}) for each in bin_of(0, 0.5, 0.8)
    )
    solution = solved(Auto(calibrated(file, rows), abstain_risk=0.02), *keys)
    assert (solution.answer is not None, solution.vote_state.samples) == (given, 16)
    assert (
        given or "with less sure answers more than 2 % may be wrong" in solution.reason
    )


def test_an_abstention_that_nothing_can_promise_is_refused(file: Path) -> None:
    with pytest.raises(
        UsageError, match=r"cannot be promised by 400 questions.*at least 299 answers"
    ):
        Auto(calibrated(file, bin_of(0, 0.5, 0.8)), abstain_risk=0.01)


# Risk


@pytest.mark.parametrize(("risk", "samples"), [(0.05, 4), (0.01, 5), (0.001, 7)])
def test_without_a_profile_a_risk_is_kept_by_the_rule(
    risk: float, samples: int
) -> None:
    """This many equal votes of 16 at 0.95, 0.98 and 0.995: no question loses more."""
    solution = solved(Auto(risk=risk), "7")
    assert (solution.vote_state.samples, solution.ended_by) == (samples, "rule")
    assert "it loses at most" in solution.remarks[0]


def test_for_latency_a_risk_is_kept_by_the_vote_of_all_that_waits_for_no_long_sample() -> (
    None
):
    for keys in ("7", "8"), ("7",):
        slow, fast = (
            solved(Auto(risk=0.01, prefer=prefer), *keys)
            for prefer in ("tokens", "latency")
        )
        assert key(fast) == key(
            solve_sync(QUESTION, SelfConsistency(16), ScriptedEngine(says(*keys)))
        )
        assert fast.cost.sequential_tokens < slow.cost.sequential_tokens


def test_a_risk_is_promised_and_an_effort_only_weighs(file: Path) -> None:
    """One sample loses half a point on 400 questions, which promise less than five and not less than two."""
    path = calibrated(file, (*bin_of(0, 0.795, 0.8)[::-1],))
    assert [
        solved(Auto(path, risk=risk), "7").cost.samples for risk in (0.05, 0.02)
    ] == [1, 16]
    assert solved(Auto(path, effort="high"), "7").cost.samples == 1


# Options


def test_the_family_is_named_where_there_are_several(file: Path) -> None:
    path = write_profile(
        file, family(*bin_of(0, 0.7, 0.7)), family(*bin_of(0, 0.5, 0.8), task="algebra")
    )
    assert solved(Auto(path, task="algebra"), "7").cost.samples == 16
    assert solved(Auto(path, task="sums"), "7").cost.samples == 1
    with pytest.raises(
        UsageError, match="choose one with task or --task: sums, algebra"
    ):
        Auto(path)
    with pytest.raises(UnknownName, match="sumz"):
        Auto(path, task="sumz")


def test_sequences_are_drawn_as_they_were_measured(file: Path) -> None:
    path = calibrated(file, bin_of(0, 0.5, 0.8))
    assert Auto(path, params=SamplingParams()).profile == path
    with pytest.raises(UsageError, match="a profile sets the sampling options"):
        Auto(path, params=SamplingParams(temperature=0.1))
