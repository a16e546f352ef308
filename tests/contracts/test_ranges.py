"""The range of every number among the options of strategies, rules and verifiers, and options that exclude each other."""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reasoner.errors import UsageError, require
from reasoner.registry import Kind, build, entries, load, options_of, schema_of
from reasoner.specs import Range, _checks_of
from reasoner_strategies import AbMcts

KINDS: tuple[Kind, ...] = ("strategy", "rule", "verifier", "engine")
BESIDE = {
    "auto abstain_below": f"profile={Path(__file__).with_name('profile.json')}",
    "auto abstain_risk": f"profile={Path(__file__).with_name('profile.json')}",
    "self_consistency window": "stop=beta",
}
"""What an option needs beside it."""
NEED_MORE = {"first_of", "orm", "prm", "product", "rules"} | {*("pool", "replay")}
"""What is not built from its name alone."""


def numbers(kind: Kind) -> list[tuple[str, str, Range]]:
    """The options that are numbers, with their ranges."""
    rows = []
    for name in sorted(entries(kind)):
        cls: Any = load(kind, name)
        for option, check in _checks_of(cls).items():
            if check.func is require and option in options_of(cls):
                limits = Range(*(check.keywords[limit] for limit in Range._fields))
                rows.append((name, option, limits))
    return rows


def refusal(kind: Kind, name: str, option: str, value: float) -> str:
    """Why a value is refused; empty where it is taken."""
    beside = BESIDE.get(f"{name} {option}", "")
    try:
        built = build(
            kind, f"{name}:{','.join(filter(None, (f'{option}={value:.17g}', beside)))}"
        )
    except UsageError as error:
        return str(error)
    assert getattr(built, option) == value
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_accepted_at_its_limit_and_refused_beyond_it(kind: Kind) -> None:
    for name, option, limits in numbers(kind):
        low, high = limits.at_least, limits.at_most
        fits = jsonschema.Draft202012Validator(
            schema_of(load(kind, name))["properties"][option]
        ).is_valid
        # Another option may not go with a limit, but the range holds it.
        assert not any(
            " must be " in refusal(kind, name, option, end)
            for end in (low, high)
            if end is not None
        ), name
        assert all(fits(end) for end in (low, high) if end is not None), name
        beyond = (
            None if low is None else low - 1,
            None if high is None else high + 1,
            limits.above,
            limits.below,
        )
        for value in [value for value in beyond if value is not None]:
            assert value == float("inf") or not fits(value), (name, option, value)
            said = refusal(kind, name, option, value)
            assert re.fullmatch(
                rf".*{option}\b.* must be .*\(got {value:,.9g}.*", said
            ), (name, option, value, said)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_and_every_word_has_a_range(kind: Kind) -> None:
    """A number that is no number and a word that is no choice are refused too."""
    known = {(name, option) for name, option, _ in numbers(kind)}
    for name in sorted(entries(kind).keys() - NEED_MORE):
        plain, hints = build(kind, name), typing.get_type_hints(load(kind, name))
        for option in options_of(type(plain)):
            if typing.get_origin(hints[option]) is tuple:
                continue  # A strategy checks its own lists.
            parts = {hints[option], *typing.get_args(hints[option])}
            if parts & {int, float}:
                assert (name, option) in known
                with pytest.raises(
                    UsageError, match=rf"{option}\b.* must be .*\(got nan\)"
                ):
                    dataclasses.replace(plain, **{option: float("nan")})
            elif words := [part for part in parts if isinstance(part, str)]:
                with pytest.raises(
                    UsageError, match=rf"{option} must be .*{words[0]}.*\(got 'x'\)"
                ):
                    dataclasses.replace(plain, **{option: "x"})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("auto:abstain_below=0.5", "abstain_below=0.5 needs a profile"),
        ("auto:task=sums", "task=sums needs a profile"),
        ("auto:profile=/nowhere/p.json", "cannot read the profile /nowhere/p.json"),
        ("beam_search:step=", "a step must end: set step, .* or step_tokens"),
        (
            "best_of_n:of=single,temperature=0.5",
            "sampling options belong to that strategy",
        ),
        (
            "budget_forcing:min_thinking=9,max_thinking=8",
            "min_thinking, with this max_thinking, must be at most 8 .got 9",
        ),
        ("budget_forcing:thinking=512", "thinking=512 contradicts max_thinking=4096"),
        (
            "escalate:first=often",
            "first must be none, low, medium, high, or a number of tokens",
        ),
        ("self_consistency:window=2", "window=2 has no effect: without `stop`"),
        ("self_consistency:stop=beta,of=single", "leave one of them out"),
        ("self_consistency:window=2,of=single", "window=2 has no effect"),
        ("single:shots=[1+1?]", "an even number of texts .got 1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("strategy", spec)


def test_objects_check_their_options_as_specs_do() -> None:
    with pytest.raises(UsageError, match="n must be a whole number"):
        AbMcts(n="8")  # type: ignore[arg-type]
