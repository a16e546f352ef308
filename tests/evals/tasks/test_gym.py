"""Puzzles of reasoning-gym: every one that is enabled is graded without being executed, and its own solution is right."""

import asyncio
import random
import string
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from reasoner.answers.equivalence import Equivalence
from reasoner.answers.texts import TextSpace
from reasoner.errors import UnknownName, UsageError
from reasoner.registry import build
from reasoner.system.process_pool import ProcessPool
from reasoner.testing.support import completion
from reasoner_evals.tasks import gym
from reasoner_evals.tasks.graders import GradedQuestion, GymGrader
from reasoner_evals.tasks.gym import VerbatimSpace
from tests.labelling import grade

SLOW = {"knight_swap", "zebra_puzzles", "puzzle24", "arc_agi"}
EXECUTING = {
    "countdown",
    "puzzle24",
    "polynomial_multiplication",
    "simple_integration",
    "intermediate_integration",
    "binary_matrix",
    "spiral_matrix",
    "string_insertion",
    "n_queens",
}


@pytest.fixture(scope="module")
def equivalence() -> Iterator[Equivalence]:
    made = Equivalence(pool=ProcessPool(workers=1))
    yield made
    asyncio.run(made.close())


def said(item: GradedQuestion, answer: str) -> str:
    text = isinstance(item.question.space, VerbatimSpace | TextSpace)
    return f"Well.\n<answer>{answer}</answer>" if text else f"The answer is {answer}"


def puzzles(name: str) -> tuple[GradedQuestion, ...]:
    items: tuple[GradedQuestion, ...] = (
        build("task", f"gym:{name},size={1 if name in SLOW else 2},seed=11")
        .load()
        .items
    )
    return items


@pytest.mark.parametrize("name", sorted(gym.KIND_OF))
def test_a_solution_is_right_and_what_would_run_is_not_run(
    name: str, equivalence: Equivalence
) -> None:
    # A number in its path would be read as the answer, and may be right.
    mark = Path(tempfile.gettempdir()) / "".join(
        random.choices(string.ascii_lowercase, k=20)
    )
    payloads = (
        f'__import__("os").system("touch {mark}")',
        f'[open("{mark}", "w")]',
        f'open("{mark}", "w")',
    )

    async def grades() -> tuple[list[str], set[str]]:
        items = puzzles(name)
        known = [
            await grade(item, completion(said(item, item.gold)), equivalence)
            for item in items
            if item.gold
        ]
        hostile = {
            await grade(items[0], completion(said(items[0], text)), equivalence)
            for text in payloads
        }
        return list(known), set(hostile)

    known, hostile = asyncio.run(grades())
    assert set(known) == (set() if gym.KIND_OF[name] == "ruled" else {"right"})
    assert hostile <= {"wrong", "no_answer"}
    assert not mark.exists()


def test_every_data_set_has_one_place_and_no_scorer_that_executes_is_called() -> None:
    from reasoning_gym.factory import DATASETS  # type: ignore[import-untyped]

    groups = (*gym.KINDS.values(), gym.REFUSED)
    assert Counter(name for group in groups for name in group) == dict.fromkeys(
        DATASETS, 1
    )
    assert not {
        name
        for name in (*EXECUTING, *gym.REFUSED)
        if gym.KIND_OF.get(name) in ("scored", "ruled")
    }


ACCEPTED_THERE = [
    ("coin_flip", "0"),
    ("game_of_life_halting", "nothing at all"),
    ("puzzle24", "1*1*3*8"),
    ("gsm_symbolic", "First 2, then 7654321"),
    ("time_intervals", "00:00:01"),
    ("countdown", "9**9**9"),
]


@pytest.mark.parametrize(("name", "answer"), ACCEPTED_THERE)
def test_what_its_own_scorers_accept_wrongly_is_not_right(
    name: str, answer: str, equivalence: Equivalence
) -> None:
    [item, *_] = puzzles(name)
    assert asyncio.run(grade(item, completion(said(item, answer)), equivalence)) in (
        "wrong",
        "no_answer",
    )


def test_a_scorer_that_raises_has_judged_nothing(equivalence: Equivalence) -> None:
    [item, *_] = puzzles("gcd")
    broken = GradedQuestion(
        item.question,
        item.gold,
        grader=GymGrader("prime_factorization", "{}", {"answer": "2 x 3"}),
    )
    assert (
        asyncio.run(grade(broken, completion("The answer is 6.5"), equivalence))
        == "grader_crash"
    )


@pytest.mark.process
def test_a_scorer_that_never_ends_is_ended(
    equivalence: Equivalence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reasoner_evals.tasks.graders._score", _endless)
    monkeypatch.setattr("reasoner_evals.tasks.graders.GYM_SECONDS", (0.2, 0.6))
    [item, *_] = puzzles("shortest_path")
    drawn = completion("<answer>up</answer>")
    assert asyncio.run(grade(item, drawn, equivalence)) == "grader_timeout"


def _endless(dataset: str, config: str, entry: object, answer: str) -> float:
    while True:
        pass


REFUSED = [
    ("codeio", UsageError, "gym:codeio is refused: it executes code"),
    ("simple_integration", UsageError, "its scorer executes the answer"),
    (
        "chain_sums",
        UnknownName,
        "no data set of reasoning-gym named 'chain_sums'; did you mean 'chain_sum'",
    ),
    ("chain_sum,size=0", UsageError, "size must be from 1"),
    ("chain_sum,config=min_terms", UsageError, "config='min_terms' sets nothing"),
    (
        "chain_sum,config=terms:2",
        UnknownName,
        "no config of gym chain_sum named 'terms'",
    ),
    ("chain_sum,config=min_terms:9", UsageError, "rejects config=[min_terms:9]"),
]


@pytest.mark.parametrize(("options", "kind", "told"), REFUSED)
def test_what_is_not_offered_is_reported(
    options: str, kind: type[UsageError], told: str
) -> None:
    with pytest.raises(kind) as error:
        build("task", f"gym:{options}").load()
    assert told in str(error.value)


VERBATIM = [
    ("First <answer>1 2\n3 4</answer>", "1 2\n3 4", "form"),
    ("<answer>a</answer> no: <answer> b  c </answer>", "b c", "form"),
    (r"\boxed{up down}", "up down", "form"),
    ("So:\n```\n1 2 \n3 4\n```\nThat is it.", "1 2\n3 4", "form"),
    ("The answer is **[1, 2]**", "[1, 2]", "announced"),
    ("<answer>`xyz`</answer>", "xyz", "form"),
    ("Thinking\n`xyz`", None, ""),
    ("<answer></answer>", None, ""),
    ("<think>never ends <answer>1</answer>", None, ""),
    ("<answer>" + "9" * 9000 + "</answer>", None, ""),
    ("", None, ""),
]


@pytest.mark.parametrize(
    ("text", "key", "rule"), VERBATIM, ids=[f"{text[:25]!a}" for text, *_ in VERBATIM]
)
def test_a_verbatim_answer_is_what_is_in_the_last_tags(
    text: str, key: str | None, rule: str
) -> None:
    found = VerbatimSpace().read(text)
    assert (found and (found.key, found.rule)) == (key and (key, rule))
