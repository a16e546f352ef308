"""`reasoner plan`: predictions from a profile."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoner.calibration.profile import ArmRow, Bins, Family, Profile
from tests.calibration import profiles
from tests.cli.command import Run

MANY = 10_000_000
Save = Callable[..., str]


def row(place: int, tokens: float, accuracy: float, questions: int) -> ArmRow:
    right, name = accuracy * questions, f"self_consistency:n={tokens:g}"
    plain = {
        "right": right,
        "squares": right,
        "tokens": tokens,
        "tokens_p95": 2 * tokens,
        "tokens_sd": tokens,
    }
    return profiles.plain_row(
        strategy=name, bin=place, questions=questions, samples=tokens, **plain
    )


def family(task: str = "sums", questions: int = MANY) -> Family:
    """The published example: hard (4 of 10) and easy (6 of 10) questions."""
    hard, easy = 4 * questions // 10, 6 * questions // 10
    rows = [
        row(0, tokens, accuracy, hard)
        for tokens, accuracy in ((1, 0.30), (4, 0.50), (16, 0.55))
    ]
    rows += [
        row(1, tokens, accuracy, easy) for tokens, accuracy in ((1, 0.90), (4, 0.92))
    ]
    split, vote = Bins(signal="split", edges=(0.5,)), "self_consistency:n=4"
    return profiles.family(
        *rows, bins=split, task=task, questions=questions, baseline=vote, safe=vote
    )


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a profile of these families; its path."""

    def save(*families: Family, model: str = "tiny") -> str:
        file = tmp_path / "profile.json"
        Profile(
            model=model, created="2026-01-01", families=families or (family(),)
        ).write(file)
        return str(file)

    return save


def planned(run: Run, *arguments: str, code: int = 0) -> dict[str, Any]:
    ended = run("plan", "--json", *arguments)
    assert (ended.code, ended.out.count("\n")) == (code, 1), ended.err
    predicted: dict[str, Any] = json.loads(ended.out)
    return predicted


# Budgets and accuracies


def test_people_get_the_same_in_words(run: Run, save: Save) -> None:
    ended = run("plan", "--profile", save(), "-b", "tokens=3")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "profile  tiny on sums, 10,000,000 questions",
        "accuracy 0.745, with 95 % confidence 0.745 to 0.746",
        "tokens   3 per question; at most 8 for 95 % of questions",
        "latency  500 sequential tokens per question",
        "",
        "split < 0.5  40.0% of questions, accuracy 0.500, tokens 4, sequential 500: self_consistency:n=4",
        "0.5 <= split 33.3% of questions, accuracy 0.900, tokens 1, sequential 500: self_consistency:n=1",
        "             26.7% of questions, accuracy 0.920, tokens 4, sequential 500: self_consistency:n=4",
    ]


def test_a_budget_is_for_all_questions(run: Run, save: Save) -> None:
    one = planned(run, "--profile", save(), "-b", "tokens=3")
    many = planned(run, "--profile", save(), "-b", "tokens=300", "--questions", "100")
    assert many["accuracy"] == one["accuracy"]
    assert (many["tokens"], many["total_tokens"]) == pytest.approx((3, 300))
    # Of a hundred questions the dear and the cheap ones even out.
    assert 300 < many["total_tokens_p95"] < 100 * one["total_tokens_p95"]
    shown = run(
        "plan", "--profile", save(), "-b", "tokens=300", "--questions", "100"
    ).out
    assert "total    300 for 100 questions" in shown


def test_an_accuracy_above_all_that_was_measured(run: Run, save: Save) -> None:
    ended = run("plan", "--profile", save(), "--target-accuracy", "0.9")
    assert ended.code == 1
    assert (
        "is right on 0.9 of questions: the highest is 0.772 (0.772 to 0.772), for 8.8 tokens per question"
        in ended.error
    )
    assert "self_consistency:n=16" in ended.out
    assert (
        planned(run, "--profile", save(), "--target-accuracy", "0.9", code=1)["reached"]
        is False
    )


def test_a_target_that_the_interval_does_not_clear_is_remarked(
    run: Run, save: Save
) -> None:
    few = planned(
        run, "--profile", save(family(questions=200)), "--target-accuracy", "0.7"
    )
    assert few["reached"] is True
    assert "below the target 0.7" in few["note"]
    assert few["low"] < 0.7
    # The cheapest way is right on 0.66.
    assert planned(run, "--profile", save(), "--target-accuracy", "0.5")["note"] == ""


def test_what_is_left_of_a_budget_is_not_turned_into_accuracy(
    run: Run, save: Save
) -> None:
    predicted = planned(run, "--profile", save(), "-b", "tokens=1000")
    assert predicted["tokens"] == pytest.approx(8.8)
    assert (
        predicted["note"]
        == "991 tokens per question are not used: more of them did not raise the measured accuracy"
    )


# What cannot be done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either --budget or --target-accuracy"),
        (["-b", "tokens=3", "--target-accuracy", "0.5"], "both are given"),
        (["-b", "seconds=3"], "write --budget tokens=AMOUNT"),
        (["-b", "tokens=3,samples=2"], "write --budget tokens=AMOUNT"),
        (
            ["-b", "tokens=9", "--questions", "10"],
            "takes 1 tokens per question, so give tokens=10",
        ),
        (
            ["-b", "tokens=9", "--questions", "0"],
            "--questions must be from 1 to 1,000,000,000 (got 0)",
        ),
        (["--target-accuracy", "80"], "a share of questions, 0 to 1"),
        (["--target-accuracy", "nan"], "a share of questions, 0 to 1"),
        (["-b", "tokens=3", "--task", "sum"], "did you mean 'sums'"),
    ],
)
def test_bad_options_give_one_line(
    arguments: list[str], said: str, run: Run, save: Save
) -> None:
    ended = run("plan", "--profile", save(), *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.error


def test_a_task_is_chosen_where_there_are_several(run: Run, save: Save) -> None:
    asked = ("--profile", save(family("sums"), family("words")), "-b", "tokens=3")
    assert (
        "2 tasks: choose one with task or --task: sums, words"
        in run("plan", *asked).error
    )
    assert planned(run, *asked, "--task", "words")["task"] == "words"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"v": 7', '"v": 1'),
        ('"tokens": 4.0', '"tokens": NaN'),
        ('"tokens_p95": 8.0', '"tokens_p95": 1e308'),
        ("}", ""),
    ],
)
def test_damaged_profiles_give_one_line(
    old: str, new: str, run: Run, save: Save
) -> None:
    file = Path(save())
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new))
    ended = run(
        "plan",
        "--profile",
        str(file),
        "--target-accuracy",
        "0.7",
        "--questions",
        "1000000",
    )
    assert (ended.code, ended.out) == (2, "")
    assert str(file) in ended.error


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_hostile_names_and_narrow_terminals_break_no_line(
    columns: int, run: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    one = family("\x1b[31m\n" + "t" * 500)
    spec = "\x1b]0;owned\x07\n" + "x" * 300
    arms = tuple(
        arm.model_copy(update={"strategy": spec}) if arm.tokens == 1 else arm
        for arm in one.arms
    )
    hostile = one.model_copy(update={"arms": arms})
    ended = run(
        "plan",
        "--profile",
        save(hostile, model="\x1b[2J\u202e" + "m" * 500),
        "-b",
        "tokens=3",
    )
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert all(line.isprintable() for line in lines)
    # A word that is too long goes over the edge.
    assert max(
        len(line) for line in lines if max(map(len, line.split()), default=0) < 40
    ) <= max(columns, 40)
    assert "".join(ended.out.split()).count("x" * 300) == 1
