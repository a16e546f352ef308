"""`reasoner plan`: what a budget is expected to give, or an accuracy to cost, before anything is spent."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reasoner.cli.exits import ANSWERED, OTHER, guarded
from reasoner.cli.look import Command
from reasoner.cli.options import PATH, json_option
from reasoner.cli.terminal import Terminal, labelled, printable
from reasoner.errors import UsageError
from reasoner.system.printing import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reasoner.calibration.planning import Forecast, Outlook
    from reasoner.calibration.profile import Family

MAX_QUESTIONS: Final = 10**9
RARE: Final = 0.03
"""A total says so if more questions than this share may cost more than all that were measured: of under 100."""


@click.command("plan", cls=Command, heading="Measure")
@click.option(
    "--profile",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Profile to predict from, written by `reasoner calibrate`.",
)
@click.option("--task", metavar="NAME", help="Task of the profile, if it has several.")
@click.option(
    "--target-accuracy",
    type=float,
    metavar="P",
    help="Share of right answers, 0 to 1. Predicts its cost.",
)
@click.option(
    "-b",
    "--budget",
    metavar="tokens=AMOUNT",
    help="Budget of all questions together, as in tokens=200k. Predicts its accuracy.",
)
@click.option(
    "--thinking",
    metavar="LEVEL,...",
    help="Thinking levels to consider, as in 512,2k.  [default: all]",
)
@click.option(
    "--questions",
    default="1",
    show_default=True,
    metavar="M",
    help="Number of questions, as in 1e6.",
)
@json_option("the prediction")
@guarded
def command(
    profile: Path,
    task: str | None,
    target_accuracy: float | None,
    budget: str | None,
    thinking: str | None,
    questions: str,
    as_json: bool,
) -> int:
    """Predict the accuracy for a budget, or the cost of an accuracy.

    Reads a profile and spends nothing. Divides the budget between easy and hard questions so that most are answered
    correctly. Predicts only within the measured range.

    Exit codes: 0 predicted, 1 the accuracy is above all that was measured, 2 usage.
    """
    from reasoner.calibration.planning import outlook
    from reasoner.calibration.profile import read_profile
    from reasoner.types import thinking_level

    count, tokens = _questions(questions), _token_budget(budget, target_accuracy)
    levels = (
        []
        if thinking is None
        else [thinking_level(level) for level in thinking.split(",")]
    )
    try:
        read = read_profile(profile)
        family = read.family(task or "")
        ways = outlook(family, levels)
        if tokens is not None:
            reached, (forecast, note) = True, _at_budget(ways, tokens, count)
        else:
            assert target_accuracy is not None
            reached, forecast, note = _at_accuracy(ways, target_accuracy)
        predicted = _document(forecast, family, count)
        if not math.isfinite(predicted["total_tokens_p95"]):
            raise OverflowError
    except ArithmeticError as error:
        raise UsageError(
            f"{profile} holds numbers too large to compute with: calibrate again"
        ) from error
    asked = {
        "questions": count,
        "budget_tokens": tokens,
        "target_accuracy": target_accuracy,
    }
    document = {
        "model": read.model,
        **asked,
        "reached": reached,
        **predicted,
        "note": note,
    }
    terminal = Terminal()
    terminal.show(*([json.dumps(document)] if as_json else _layout(document)))
    if not reached:
        terminal.fail(note)
    return ANSWERED if reached else OTHER


def _questions(text: str) -> int:
    """The number of --questions."""
    from reasoner.budget import Budget

    with suppress(UsageError):
        if (
            count := Budget.parse(f"samples={text}").samples
        ) and count <= MAX_QUESTIONS:
            return count
    raise UsageError(
        f"--questions must be from 1 to {MAX_QUESTIONS:,} (got {text:.40}), as in 1000, 200k or 1e6"
    )


def _token_budget(budget: str | None, accuracy: float | None) -> int | None:
    """The tokens of --budget; None where --target-accuracy is given."""
    from reasoner.budget import Budget

    if (budget is None) == (accuracy is None):
        given = "neither is given" if budget is None else "both are given"
        raise UsageError(
            f"give either --budget or --target-accuracy to predict the other: {given}"
        )
    if accuracy is not None and not 0 <= accuracy <= 1:
        raise UsageError(
            f"--target-accuracy must be a share of questions, 0 to 1 (got {accuracy:g})"
        )
    if budget is None:
        return None
    limit = Budget.parse(budget)
    if limit.tokens is None or limit != Budget(tokens=limit.tokens):
        raise UsageError(
            f"budget {limit} cannot be predicted: write --budget tokens=AMOUNT"
        )
    return limit.tokens


def _at_budget(ways: "Outlook", budget: int, questions: int) -> "tuple[Forecast, str]":
    """What a budget gives, and a note if a part of it is not used. Raises UsageError: no measured way is as cheap."""
    tokens = budget / questions
    # Rounding, as in `frontier.fill`.
    if tokens < ways.minimum * (1 - 1e-12):
        minimum = f"{_number(ways.minimum)} tokens per question"
        total = math.ceil(ways.minimum * questions)
        raise UsageError(
            f"the budget is too small: the cheapest measured way takes {minimum}, so give tokens={total}"
        )
    forecast = ways.at(tokens)
    unused = tokens - forecast.tokens.mean
    if unused <= 1e-9 * tokens:
        return forecast, ""
    more = "more of them did not raise the measured accuracy"
    return forecast, f"{_number(unused)} tokens per question are not used: {more}"


def _at_accuracy(ways: "Outlook", target: float) -> "tuple[bool, Forecast, str]":
    """Whether an accuracy can be reached, what it costs or the highest one, and a note where it is not certain."""
    needed = ways.tokens_for(target)
    forecast = ways.maximum if needed is None else ways.at(needed)
    low, high = forecast.interval
    if needed is not None:
        unsure = f"it may be missed: the interval begins at {low:.3f}, below the target {target:g}"
        return True, forecast, unsure if low < target else ""
    highest = f"{forecast.accuracy.mean:.3f} ({low:.3f} to {high:.3f})"
    cost = f"{_number(forecast.tokens.mean)} tokens per question"
    problem = f"no measured way is right on {target:g} of questions: the highest is {highest}, for {cost}"
    return (
        False,
        forecast,
        f"{problem}; ask for less, or calibrate with more samples or other strategies",
    )


def _document(forecast: "Forecast", family: "Family", questions: int) -> dict[str, Any]:
    low, high = forecast.interval
    fields = (
        "strategy",
        "verifier",
        "budget",
        "tokens",
        "tokens_p95",
        "sequential_tokens",
        "samples",
    )
    return {
        "task": family.task,
        "calibrated_on": family.questions,
        "accuracy": forecast.accuracy.mean,
        "low": low,
        "high": high,
        "tokens": forecast.tokens.mean,
        "tokens_p95": forecast.tokens_p95,
        "sequential_tokens": forecast.sequential_tokens,
        "unseen": forecast.unseen,
        "total_tokens": questions * forecast.tokens.mean,
        "total_tokens_p95": forecast.tokens_p95
        if questions == 1
        else forecast.total_p95(questions),
        "arms": [
            {
                "where": family.bins.words(index) or "all",
                "share": part.share * share,
                "accuracy": way.accuracy.mean,
            }
            | {name: getattr(way.row, name) for name in fields}
            for index, part in enumerate(forecast.parts)
            for share, way in part.arms
        ],
    }


def _layout(document: Mapping[str, Any]) -> "Iterator[RenderableType]":
    """The document for a person: the forecast, and what is run in each bin."""
    questions, p95 = document["questions"], _number(document["tokens_p95"])
    low, high = document["low"], document["high"]
    measured = f"{printable(document['model'])} on {printable(document['task'])}"
    lines = [
        ("profile", f"{measured}, {counted(document['calibrated_on'], 'question')}"),
        (
            "accuracy",
            f"{document['accuracy']:.3f}, with 95 % confidence {low:.3f} to {high:.3f}",
        ),
        (
            "tokens",
            f"{_number(document['tokens'])} per question; at most {p95} for 95 % of questions",
        ),
    ]
    if document["sequential_tokens"] is not None:
        lines.append(
            (
                "latency",
                f"{_number(document['sequential_tokens'])} sequential tokens per question",
            )
        )
    if questions > 1:
        total, maximum = (
            _number(document["total_tokens"]),
            _number(document["total_tokens_p95"]),
        )
        lines.append(
            (
                "total",
                f"{total} for {questions:,} questions; at most {maximum} with 95 % probability",
            )
        )
        if document["unseen"] > RARE:
            costly = f"up to {document['unseen']:.1%} of all questions may cost more than any that was measured"
            lines.append(("", f"{costly}, and the total then too"))
    if document["note"] and document["reached"]:
        lines.append(("note", document["note"]))
    yield labelled(lines)
    yield ""
    arms: list[tuple[str, str]] = []
    for arm in document["arms"]:
        spec = ", ".join(
            [
                arm["strategy"],
                *(
                    f"{kind} {arm[kind]}"
                    for kind in ("verifier", "budget")
                    if arm[kind]
                ),
            ]
        )
        share, tokens = (
            f"{arm['share']:.1%} of questions",
            f"tokens {_number(arm['tokens'])}",
        )
        if arm["sequential_tokens"] is not None:
            tokens += f", sequential {_number(arm['sequential_tokens'])}"
        arms.append(
            (arm["where"], f"{share}, accuracy {arm['accuracy']:.3f}, {tokens}: {spec}")
        )
    yield labelled(arms)


def _number(amount: float) -> str:
    """Tokens, whole where there are many."""
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"
