"""Arms: what is drawn how often, and under which names."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Budget
from reasoner.errors import UsageError
from reasoner_evals.runs.arms import Grid, arms_of, file_part, read_seeds

TREE = "beam_search"
GREEDY = "single:temperature=0"


def grid(
    *strategies: str,
    budgets: str = "",
    seeds: tuple[int, ...] = (),
    tasks: tuple[str, ...] = ("t",),
) -> Grid:
    return Grid(
        tasks,
        strategies,
        "certainty",
        tuple(map(Budget.parse, filter(None, budgets.split(",")))),
        seeds,
    )


def test_a_pool_is_drawn_once_a_seed_and_a_search_at_every_budget_and_both_at_every_total() -> (
    None
):
    asked = grid(
        "self_consistency:n=4", TREE, GREEDY, budgets="1k,samples=8", seeds=(3, 5)
    )
    arms = arms_of(replace(asked, totals=(Budget(samples=40),)))
    # The pool's sizes are the uniform curve beside the divided budget.
    assert [
        (arm.strategy.partition(":")[0], arm.limit, arm.seed, arm.pool) for arm in arms
    ] == [
        ("self_consistency", "", 3, 4),
        ("self_consistency", "", 5, 4),
        ("self_consistency", "samples=40 in all", 3, 0),
        ("self_consistency", "samples=40 in all", 5, 0),
        ("beam_search", "tokens=1000", 3, 0),
        ("beam_search", "tokens=1000", 5, 0),
        ("beam_search", "samples=8", 3, 0),
        ("beam_search", "samples=8", 5, 0),
        ("beam_search", "samples=40 in all", 3, 0),
        ("beam_search", "samples=40 in all", 5, 0),
        ("single", "", 3, 0),
    ]


@pytest.mark.parametrize(
    ("strategy", "pool", "rule", "verifier"),
    [
        ("self_consistency", 8, "majority", ""),
        ("best_of_n:n=5", 5, "best", "certainty"),
        ("best_of_n:selector=weighted", 16, "weighted", "certainty"),
        ("best_of_n:of=refine", 0, "", "certainty"),
        ("self_consistency:of=budget_forcing", 0, "", ""),
        ("self_consistency:stop=beta", 0, "", ""),
        ("single:temperature=0.7", 0, "", ""),
    ],
)
def test_which_strategies_are_pools_and_who_is_given_a_verifier(
    strategy: str, pool: int, rule: str, verifier: str
) -> None:
    (arm,) = arms_of(grid(strategy))
    assert (arm.pool, arm.rule, arm.verifier) == (pool, rule, verifier)


def test_the_default_is_greedy_and_a_pool_of_sixteen() -> None:
    assert [(arm.name, arm.pool) for arm in arms_of(Grid(("gsm8k:path=a.jsonl",)))] == [
        ("gsm8k.single", 0),
        ("gsm8k.self_consistency-n16", 16),
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            grid("self_consistency", "self_consistency:n=8"),
            "strategy self_consistency is given twice",
        ),
        (grid(TREE, budgets="1k,tokens=1000"), "budget tokens=1000 is given twice"),
        (grid(TREE, seeds=(4, 4)), "seed 4 is given twice"),
        (grid(TREE, tasks=("a", "a")), "task a is given twice"),
        (grid(GREEDY, "self_consistency", budgets="1k"), "--budget has no effect"),
        (
            grid(GREEDY, seeds=(0, 1)),
            "--seeds has no effect: one greedy sample per question is all there is",
        ),
        (Grid(("t",), (GREEDY,), totals=(Budget(tokens=1),)), "--total has no effect"),
        (
            Grid(("t",), (TREE,), totals=(Budget(tokens=1), Budget(tokens=1))),
            "total tokens=1 is given twice",
        ),
        (
            grid(TREE, seeds=tuple(range(1000)), tasks=tuple(map(str, range(11)))),
            "11,000 combinations",
        ),
    ],
)
def test_what_is_given_twice_or_changes_nothing_is_refused(
    wrong: Grid, message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        arms_of(wrong)


def test_an_amount_without_a_unit_is_tokens_and_a_single_number_of_seeds_a_count() -> (
    None
):
    assert Budget.parse("1k") == Budget(tokens=1000)
    assert [read_seeds(text) for text in ("3", "4,7", "4,", " 9 , 0 ")] == [
        (0, 1, 2),
        (4, 7),
        (4,),
        (9, 0),
    ]
    for text in ("", "1k,", "many", "0", "-1", "words=3", "1.5", "nan"):
        with pytest.raises(UsageError):
            Budget.parse(text)
    for text in ("", ",", "0", "1001", "-1", "1.5", "a,b", "³", "9" * 19 + ","):
        with pytest.raises(UsageError, match="--seeds"):
            read_seeds(text)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=8, unique=True))
def test_names_are_files_of_their_own_wherever_case_does_not_count(
    tasks: list[str],
) -> None:
    arms = arms_of(
        grid(
            'self_consistency:params.stop=[/,..,","]',
            TREE,
            budgets="1k",
            seeds=(0, 1),
            tasks=tuple(tasks),
        )
    )
    names = [arm.name for arm in arms]
    assert len({name.casefold() for name in names}) == len(names) == 4 * len(tasks)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)
        assert len(name) <= 150


@given(st.text())
def test_a_part_of_a_name_is_never_empty_and_never_hidden(spec: str) -> None:
    part = file_part(spec)
    assert re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?", part)
