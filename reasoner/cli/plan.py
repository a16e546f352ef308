"""`reasoner plan`: what a budget is expected to bring, or an accuracy to cost, before anything is spent."""

import json
import math
import shutil
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reasoner.cli.exits import ANSWERED, OTHER, error_line, guarded
from reasoner.errors import UsageError, require

if TYPE_CHECKING:
    from reasoner.controller.planning import Forecast, Outlook, Part
    from reasoner.controller.profile import Bins, Family, Profile

WIDEST = 140
"""Columns that are used at most: longer lines are hard to read."""
PIPED = 100
"""Columns that are taken where nothing says how many there are."""
NARROWEST = 24
"""Columns that a text takes at least."""
MOST_QUESTIONS = 10**9


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for: a budget for all questions or an accuracy, one of them; and for how many questions."""

    budget: int | None
    accuracy: float | None
    questions: int


@dataclass(frozen=True, slots=True)
class _Told:
    """The prediction, what has to be said about it, and why what was asked for cannot be had, if so."""

    forecast: "Forecast"
    remarks: tuple[str, ...] = ()
    failure: str | None = None


@click.command("plan")
@click.option("--profile", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="What `reasoner calibrate` measured.")  # fmt: skip
@click.option("--task", metavar="NAME", help="The kind of task, where the profile holds several.")
@click.option("--target-accuracy", type=float, metavar="P",
              help="What is the least that answers this share of questions rightly?")  # fmt: skip
@click.option("-b", "--budget", metavar="tokens=AMOUNT", help="What do so many tokens bring, for all questions?")
@click.option("--questions", type=int, default=1, show_default=True, metavar="M", help="How many questions there are.")
@click.option("-m", "--model", metavar="PATH_OR_ID",
              help="The model whose sequences are to fit.  [default: the one that was measured]")  # fmt: skip
@click.option("--kv-gib", type=float, metavar="G",
              help="GiB of memory for the KV cache.  [default: what the engine takes on a CPU]")  # fmt: skip
@click.option("--kv-dtype", default="auto", show_default=True, metavar="auto|float32|bfloat16|float8",
              help="The type of the numbers in the cache.")  # fmt: skip
@click.option("--context-tokens", type=int, default=0, show_default=True, metavar="T",
              help="Tokens of prompt beyond those measured, which the samples of a question share.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Give the prediction as JSON.")
@guarded
def command(
    profile: Path,
    task: str | None,
    target_accuracy: float | None,
    budget: str | None,
    questions: int,
    model: str | None,
    kv_gib: float | None,
    kv_dtype: str,
    context_tokens: int,
    as_json: bool,
) -> int:
    """Predict what a budget brings, or what an accuracy costs, from a profile; nothing is spent.

    The budget is divided over easy and hard questions so that most are answered rightly. Nothing is extrapolated beyond
    what was measured. With the model's geometry known, tells how many sequences its KV memory holds at once.

    Exit codes: 0 predicted, 1 the accuracy is above all that was measured, 2 usage.
    """
    from reasoner.cli.fitting import Memory
    from reasoner.cli.terminal import Terminal
    from reasoner.controller.planning import outlook, sequence_p95
    from reasoner.controller.profile import read_profile

    asked = _asked(budget, target_accuracy, questions)
    memory = Memory(model, kv_gib, kv_dtype, context_tokens)
    terminal = Terminal(sys.stdout, sys.stderr)
    try:
        read = read_profile(profile)
        family = _family(read, profile, task)
        told = _predict(outlook(family), asked)
        predicted = _document(told, family, asked)
        if not math.isfinite(predicted["total_tokens_p95"]):
            raise OverflowError
    except ArithmeticError as error:
        raise UsageError(f"{profile} holds numbers too large to compute with: calibrate anew") from error
    fits = memory.holding(read.model, sequence_p95(family), told.forecast.samples, terminal.say)
    document = {"model": read.model, **predicted, "kv": fits}
    if as_json:
        terminal.give(json.dumps(document))
    else:
        for line in _lines(document, min(shutil.get_terminal_size((PIPED, 24)).columns, WIDEST)):
            terminal.give(line)
    if told.failure:
        terminal.say(error_line(told.failure))
    return OTHER if told.failure else ANSWERED


def _asked(budget: str | None, accuracy: float | None, questions: int) -> _Asked:
    from reasoner.budget import Budget

    if (budget is None) == (accuracy is None):
        given = "neither is given" if budget is None else "both are given"
        raise UsageError(f"what is to be predicted? {given}: ask with either --budget or --target-accuracy")
    require(questions, "--questions", at_least=1, at_most=MOST_QUESTIONS)
    require(accuracy, "--target-accuracy", at_least=0, at_most=1)
    if budget is None:
        return _Asked(None, accuracy, questions)
    limit = Budget.parse(budget)
    if limit.tokens is None or limit != Budget(tokens=limit.tokens):
        raise UsageError(f"budget {limit} cannot be predicted: profiles tell tokens; write --budget tokens=AMOUNT")
    return _Asked(limit.tokens, None, questions)


def _family(profile: "Profile", path: Path, task: str | None) -> "Family":
    if task is not None:
        return profile.family(task)
    if len(profile.families) != 1:
        names = ", ".join(family.task for family in profile.families)
        way_out = f"choose one with --task: {names}" if names else "calibrate on one first"
        raise UsageError(f"the profile {path} holds {len(profile.families)} tasks: {way_out}")
    return profile.families[0]


def _predict(outlook: "Outlook", asked: _Asked) -> _Told:
    if asked.accuracy is not None:
        return _predict_cost(outlook, asked.accuracy)
    assert asked.budget is not None
    tokens = asked.budget / asked.questions
    # Rounding, as in `frontier.fill`.
    if tokens < outlook.least * (1 - 1e-12):
        every = f"{_number(outlook.least)} tokens a question"
        total = math.ceil(outlook.least * asked.questions)
        raise UsageError(f"the budget is too small: the cheapest way measured takes {every}, so give tokens={total}")
    told = outlook.at(tokens)
    spare = tokens - told.tokens.mean
    if spare <= 1e-9 * tokens:
        return _Told(told)
    return _Told(
        told, (f"{_number(spare)} tokens a question are left: nothing that was measured turns them into accuracy",)
    )


def _predict_cost(outlook: "Outlook", accuracy: float) -> _Told:
    tokens = outlook.tokens_for(accuracy)
    if tokens is None:
        most = outlook.most
        reached = f"the most is {most.accuracy.mean:.3f} ({_interval(most)}), for {_number(most.tokens.mean)} tokens"
        why = f"no way that was measured is right on {accuracy:g} of questions: {reached} a question"
        return _Told(most, failure=f"{why}; ask for less, or calibrate with more samples or other strategies")
    told = outlook.at(tokens)
    low = told.interval[0]
    if low >= accuracy:
        return _Told(told)
    return _Told(told, (f"it may be missed: the interval begins at {low:.3f}, below the {accuracy:g} asked for",))


def _document(told: _Told, family: "Family", asked: _Asked) -> dict[str, Any]:
    forecast = told.forecast
    low, high = forecast.interval
    tokens, many = forecast.tokens.mean, asked.questions
    return {
        "task": family.task,
        "calibrated_on": family.questions,
        "questions": many,
        "budget_tokens": asked.budget,
        "target_accuracy": asked.accuracy,
        "reached": told.failure is None,
        "accuracy": forecast.accuracy.mean,
        "low": low,
        "high": high,
        "tokens": tokens,
        "tokens_p95": forecast.tokens_p95,
        "total_tokens": many * tokens,
        "total_tokens_p95": forecast.tokens_p95 if many == 1 else forecast.total_p95(many),
        "bins": [_bin(part, place, family.bins) for place, part in enumerate(forecast.parts)],
        "remarks": list(told.remarks),
    }


def _bin(part: "Part", place: int, bins: "Bins") -> dict[str, Any]:
    arms = [
        {
            "strategy": way.row.strategy,
            "verifier": way.row.verifier,
            "budget": way.row.budget,
            "share": share,
            "accuracy": way.accuracy.mean,
            "tokens": way.row.tokens,
            "tokens_p95": way.row.tokens_p95,
            "samples": way.row.samples,
        }
        for share, way in part.ways
    ]
    return {"bin": place, "where": bins.words(place) or "all", "share": part.share, "arms": arms}


def _lines(told: dict[str, Any], columns: int) -> list[str]:
    """The document for people: what is expected, what is done in each bin, what fits."""
    from reasoner.cli.fitting import lines as memory_lines
    from reasoner.cli.terminal import printable

    many = told["questions"]
    lines = [
        ("profile", f"{printable(told['model'])} on {printable(told['task'])}, {told['calibrated_on']:,} questions"),
        ("accuracy", f"{told['accuracy']:.3f}, with 95 % confidence {told['low']:.3f} to {told['high']:.3f}"),
        ("tokens", f"{_number(told['tokens'])} a question; 19 of 20 take at most {_number(told['tokens_p95'])}"),
    ]
    if many > 1:
        most = _number(told["total_tokens_p95"])
        lines.append(
            ("in all", f"{_number(told['total_tokens'])} for {many:,} questions; 19 times of 20 at most {most}")
        )
    lines += [("note", remark) for remark in told["remarks"]]
    lines += [("" if place else "KV memory", line) for place, line in enumerate(memory_lines(told["kv"]))]
    shown = [part for label, text in lines for part in _wrapped(f"{label:<11}", text, columns)]
    return [*shown, "", *_table(told["bins"], columns)]


def _table(bins: list[dict[str, Any]], columns: int) -> list[str]:
    """One row for each arm of each bin; the arm comes last, as its spec may be long."""
    width = max(len("questions"), *(len(part["where"]) for part in bins))
    lines = [f"{'questions':<{width}}  share  accuracy     tokens  arm"]
    for part in bins:
        for place, arm in enumerate(part["arms"]):
            extra = [f"{kind} {arm[kind]}" for kind in ("verifier", "budget") if arm[kind]]
            where = "" if place else part["where"]
            head = f"{where:<{width}}  {part['share'] * arm['share']:5.1%}"
            head += f"  {arm['accuracy']:8.3f}  {_number(arm['tokens']):>9}  "
            lines += _wrapped(head, ", ".join([arm["strategy"], *extra]), columns)
    return lines


def _wrapped(head: str, text: str, columns: int) -> list[str]:
    """The text beside its head, or below it where that would squeeze it."""
    from reasoner.cli.terminal import clean

    indent = len(head) if columns - len(head) >= NARROWEST else 2
    first, above = (head, []) if indent == len(head) else ("  ", [head.rstrip()])
    width = max(columns, NARROWEST)
    rest = " " * indent
    return above + textwrap.wrap(
        clean(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _number(amount: float) -> str:
    """Tokens: whole where there are many."""
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


def _interval(forecast: "Forecast") -> str:
    low, high = forecast.interval
    return f"{low:.3f} to {high:.3f}"
