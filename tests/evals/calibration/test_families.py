"""Rows of a profile are what going through all subsets and orders of small pools gives."""

import functools
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.profile import ArmRow, Family
from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner_evals.calibration.outcomes import RULES, Outcomes, Way, pooled_arm
from reasoner_evals.calibration.profiles import (
    Binning,
    check_signal,
    family_of,
    trust_in,
)
from reasoner_evals.runs.measures import ArmReading, as_run, joined
from reasoner_evals.runs.reading import open_run, questions_of, read_arm
from tests.evals.calibration.pools import Ended, voted
from tests.evals.fabricated import TASK, Fake, Law, fabricate, gold, question_id, record

SPEC = "self_consistency:n=5,temperature=0.9,max_tokens=77"
LAW = Law(wrong_answers=2, no_answer=0.1, truncated=0.05)
VOTE = Fake(SPEC, pool=5, rule="majority", law=LAW)
GREEDY = Fake("single", law=LAW)
QUESTIONS = 12


def family(
    path: Path, *arms: Fake, binning: Binning | None = None, **options: Any
) -> Family:
    made = made_of(
        fabricate(path, arms, **{"questions": QUESTIONS, **options}), binning
    )
    assert made
    return made


def made_of(path: Path, binning: Binning | None = None) -> Family | None:
    arms = readings(path)
    run = arms[0].run
    texts = questions_of(run, TASK, set(run.tasks[TASK].ids))
    lengths = {name: len(asked.text) for name, asked in texts.items()}
    return family_of(arms, binning or Binning(), lengths, "a test")


def readings(path: Path) -> list[ArmReading]:
    run = open_run(path)
    return [ArmReading(run, read_arm(run, arm.name)) for arm in run.manifest.arms]


def row(of: Family, strategy: str, place: int = 0) -> ArmRow:
    (found,) = [one for one in of.rows(place) if one.strategy == strategy]
    return found


@functools.cache
def samples(number: int, arm: Fake = VOTE) -> tuple[list[int], list[bool], list[int]]:
    """The answers of a pool as classes, whether they are right, and the tokens beside their prompts."""
    pool = record(arm, number).pool
    names = {"": -1}
    classes = [names.setdefault(one.key, len(names)) for one in pool]
    return (
        classes,
        [one.answer == gold(number) for one in pool],
        [one.generated_tokens for one in pool],
    )


def spread(found: ArmRow) -> list[float]:
    """The losses of all questions, ascending."""
    return [loss for loss, count in found.losses for _ in range(count)]


def baseline(number: int) -> bool:
    classes, right, _ = samples(number)
    return voted(classes, right).right


def voted_in(number: int, order: tuple[int, ...]) -> bool:
    """Whether the vote of all samples in this order is right: ties go to the first."""
    classes, right, _ = samples(number)
    return voted([classes[at] for at in order], [right[at] for at in order]).right


def tokens_of(number: int, chosen: tuple[int, ...]) -> float:
    """The prompt once in full and then from the cache, the samples, and their part of what belongs to none."""
    classes, _, own = samples(number)
    cost = record(VOTE, number).cost
    rest = cost.tokens - (40 + 8 * 4) - sum(own)
    return (
        40
        + 8 * (len(chosen) - 1)
        + sum(own[at] for at in chosen)
        + rest * len(chosen) / len(classes)
    )


@pytest.mark.parametrize("k", [1, 3, 4])
def test_a_smaller_size_is_the_mean_over_all_subsets(k: int, tmp_path: Path) -> None:
    found = row(
        family(tmp_path / "run", VOTE),
        f"self_consistency:n={k},temperature=0.9,max_tokens=77",
    )
    outcomes, tokens = [], []
    for number in range(QUESTIONS):
        classes, right, _ = samples(number)
        # All orders of all subsets: ties go to each of the tied classes equally often.
        votes = [
            voted([classes[at] for at in order], [right[at] for at in order]).right
            for order in itertools.permutations(range(5), k)
        ]
        outcomes.append(mean(votes))
        tokens += [
            tokens_of(number, order[:k]) for order in itertools.permutations(range(5))
        ]
    base = [baseline(number) for number in range(QUESTIONS)]
    assert found.questions == QUESTIONS
    assert found.right == pytest.approx(sum(outcomes), abs=1e-5)
    assert spread(found) == pytest.approx(
        sorted(b - x for b, x in zip(base, outcomes, strict=True)), abs=1e-4
    )
    assert found.most == 1
    assert found.tokens == pytest.approx(mean(tokens), abs=1e-5)
    assert found.samples == k


def in_all_orders(number: int, spec: str) -> Iterator[tuple[tuple[int, ...], Ended]]:
    classes, right, _ = samples(number)
    for order in itertools.permutations(range(5)):
        yield (
            order,
            voted(
                [classes[at] for at in order],
                [right[at] for at in order],
                build("rule", spec),
            ),
        )


@pytest.mark.slow
@pytest.mark.parametrize("spec", RULES)
def test_a_stopped_vote_is_the_mean_over_all_orders(spec: str, tmp_path: Path) -> None:
    found = next(
        one
        for one in family(tmp_path / "run", VOTE).arms
        if (vote := build("strategy", one.strategy)).n == 5
        and vote.stop == build("rule", spec)
    )
    outcomes, tokens, launched, losses = [], [], [], []
    for number in range(QUESTIONS):
        ends = list(in_all_orders(number, spec))
        outcomes.append(mean(ended.right for _, ended in ends))
        wholes = [voted_in(number, order) for order, _ in ends]
        losses.append(mean(wholes) - mean(ended.right for _, ended in ends))
        for order, ended in ends:
            launched.append(ended.looked)
            tokens.append(tokens_of(number, order[: ended.looked]))
    assert found.right == pytest.approx(sum(outcomes), abs=1e-5)
    assert spread(found) == pytest.approx(sorted(losses), abs=1e-4)
    assert max(losses) <= found.most + 1e-9
    assert spec != "lossless" or (found.most, found.losses) == (0, ((0, QUESTIONS),))
    assert found.tokens == pytest.approx(mean(tokens), abs=1e-5)
    assert found.samples == pytest.approx(mean(launched), abs=1e-5)


def test_the_baseline_is_the_vote_of_all_and_harms_nobody(tmp_path: Path) -> None:
    found = family(tmp_path / "run", VOTE, GREEDY)
    whole = row(found, found.baseline)
    assert found.baseline == whole.strategy == SPEC
    assert whole.right == sum(baseline(number) for number in range(QUESTIONS))
    assert (whole.losses, whole.most, whole.samples) == (((0, QUESTIONS),), 0, 5)
    assert whole.tokens == pytest.approx(
        mean(record(VOTE, number).cost.tokens for number in range(QUESTIONS)), abs=1e-5
    )
    more = mean(
        (tokens_of(n, (0, 1, 2, 3, 4)) - tokens_of(n, (at,))) / 4
        for n in range(QUESTIONS)
        for at in range(5)
    )
    assert found.sample_tokens == pytest.approx(more, abs=1e-5)


def test_what_was_run_is_reported_as_it_was_run(tmp_path: Path) -> None:
    search = Fake(
        "beam_search:n=3", budget="tokens=500", verifier="orm", replies=3, law=LAW
    )
    (found,) = [
        one for one in family(tmp_path / "run", VOTE, search).arms if one.verifier
    ]
    records = [record(search, number) for number in range(QUESTIONS)]
    right = [one.answer == gold(number) for number, one in enumerate(records)]
    assert (found.strategy, found.verifier, found.budget) == (
        "beam_search:n=3",
        "orm",
        "tokens=500",
    )
    assert found.right == sum(right)
    assert spread(found) == sorted(
        baseline(number) - right[number] for number in range(QUESTIONS)
    )
    assert found.tokens == pytest.approx(
        mean(one.cost.tokens for one in records), abs=1e-5
    )
    assert found.samples == 3


def test_a_question_counts_where_every_arm_has_a_result(tmp_path: Path) -> None:
    made = family(tmp_path / "run", VOTE, Fake("single", law=LAW, errors=3))
    assert {one.questions for one in made.arms} == {made.questions} == {QUESTIONS - 3}
    assert row(made, made.baseline).right == sum(
        baseline(number) for number in range(3, QUESTIONS)
    )


@pytest.mark.slow
def test_bins_part_the_questions_and_the_rows(tmp_path: Path) -> None:
    whole = family(tmp_path / "whole", VOTE, questions=200)
    parted = family(tmp_path / "parted", VOTE, questions=200, binning=Binning("split"))
    assert parted.bins.count > 1
    for place in range(parted.bins.count):
        assert row(parted, parted.baseline, place).questions >= 30
    for one in whole.arms:
        pieces = [
            row(parted, one.strategy, place) for place in range(parted.bins.count)
        ]
        assert sum(piece.questions for piece in pieces) == 200
        assert sum(piece.right for piece in pieces) == pytest.approx(
            one.right, abs=1e-4
        )
    places = []
    for number in range(200):
        votes = [one for one in samples(number)[0][:4] if one >= 0]
        places.append(
            parted.bins.index(
                max(map(votes.count, votes)) / len(votes) if votes else 0.0
            )
        )
    assert [
        row(parted, parted.baseline, place).questions
        for place in range(parted.bins.count)
    ] == np.bincount(places).tolist()


def test_without_a_vote_or_a_result_there_is_no_family(tmp_path: Path) -> None:
    assert made_of(fabricate(tmp_path / "greedy", [GREEDY], questions=4)) is None
    ungraded = fabricate(tmp_path / "ungraded", [VOTE], questions=4, graded=False)
    assert made_of(ungraded) is None
    with pytest.raises(UsageError, match="looks at the first 4 samples of a vote"):
        check_signal(Binning("split"), 3)


def test_the_arms_of_two_rounds_are_joined_question_by_question(tmp_path: Path) -> None:
    rounds = [
        readings(fabricate(tmp_path / str(count), [VOTE], questions=count))[0]
        for count in (3, 5)
    ]
    whole = joined(rounds)
    for name, values in as_run(whole).items():
        parts = np.concatenate([as_run(each)[name] for each in rounds])
        np.testing.assert_array_equal(values, parts)
    pools = [
        pooled_arm(each, np.arange(len(each.data.outcome))) for each in (whole, *rounds)
    ]
    for name in ("classes", "right", "own", "first_prompt"):
        arrays = [getattr(pool.samples, name) for pool in pools]
        np.testing.assert_array_equal(arrays[0], np.concatenate(arrays[1:]))
    assert pools[0].ids == pools[1].ids + pools[2].ids


def test_a_profile_tells_no_answer_and_no_question(tmp_path: Path) -> None:
    made = family(
        tmp_path / "run",
        VOTE,
        GREEDY,
        questions=QUESTIONS,
        binning=Binning("prompt", 2),
    )
    found = set(texts(json.loads(made.model_dump_json())))
    secret = {question_id(n) for n in range(QUESTIONS)} | {
        gold(n) for n in range(QUESTIONS)
    }
    secret |= {
        one.key for n in range(QUESTIONS) for one in record(VOTE, n).pool if one.key
    }
    assert not any(word in text for word in secret for text in found)
    assert SPEC in found


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list)
        else ()
    ):
        yield from texts(inner)


def ended(share: list[float], right: list[bool]) -> Outcomes:
    column, good = np.array(share)[:, None], np.array(right, dtype=np.float64)[:, None]
    return Outcomes(
        Way("x", "", ""), good, column, column, column, column, column, column
    )


def test_few_questions_leave_trust_near_the_share_and_many_find_the_curve() -> None:
    few = trust_in(ended([0.9] * 3, [False] * 3))
    assert 0.5 < few.chance(0.9) < 0.95
    source = np.random.default_rng(0)
    shares = source.uniform(0.2, 0.95, 20_000)
    right = source.random(len(shares)) < 1 / (
        1 + np.exp(1 - 0.5 * np.log(shares / (1 - shares)))
    )
    many = trust_in(ended(shares.round(2).tolist(), right.tolist()))
    assert (many.intercept, many.slope) == pytest.approx((-1, 0.5), abs=0.1)


@pytest.mark.parametrize(
    ("intercept", "slope"), [(0, 1), (-1, 1), (0.5, 1), (0, 0.5), (0, 1.5)]
)
def test_fifteen_questions_give_no_worse_confidences_than_the_share_itself(
    intercept: float, slope: float
) -> None:
    """Whether the shares are the chances of being right, too sure or not sure enough: by the Brier score."""

    def chance(share: Any) -> Any:
        return 1 / (1 + np.exp(-intercept - slope * np.log(share / (1 - share))))

    source, grid, excess = (
        np.random.default_rng(0),
        np.linspace(0.3, 0.97, 60),
        list[float](),
    )
    for _ in range(40):
        shares = source.uniform(0.3, 0.97, 15).round(2)
        trust = trust_in(
            ended(shares.tolist(), (source.random(15) < chance(shares)).tolist())
        )
        confidences = np.array([trust.chance(share) for share in grid])
        excess.append(
            np.mean((confidences - chance(grid)) ** 2 - (grid - chance(grid)) ** 2)
        )
    assert np.mean(excess) < 0.0005


def test_lengths_count_after_few_samples_and_elsewhere_if_shorter_ones_are_seen_to_be_right_more_often() -> (
    None
):
    short = np.arange(200) % 2 == 0
    lucky = np.random.default_rng(0).random(200) < 0.5

    def length(right: "np.ndarray[Any, np.dtype[np.bool_]]", samples: float) -> float:
        lengths = np.where(short, 50.0, 200.0)[:, None]
        votes = replace(
            ended([8 / 9] * 200, right.tolist()),
            length=lengths,
            samples=np.full((200, 1), samples),
        )
        return trust_in(votes).length

    assert length(short | lucky, 7) == length(~short, 2) == 100
    assert length(~short | lucky, 7) == length(lucky, 7) == length(lucky, 1) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=300))
def test_trust_rises_and_counts_every_question_once(
    pairs: list[tuple[float, bool]],
) -> None:
    found = trust_in(
        ended([share for share, _ in pairs], [right for _, right in pairs])
    )
    assert found.slope > 0
    assert (sum(found.answered), sum(found.right)) == (
        len(pairs),
        sum(right for _, right in pairs),
    )
    assert found.answers_above(0) == pytest.approx(
        (1, mean(right for _, right in pairs))
    )
