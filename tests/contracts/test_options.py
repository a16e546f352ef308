"""What every strategy of the catalog promises of its options: each is taken, kept, written again and has its effect."""

import dataclasses
import functools
import random
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reasoner import solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.registry import build, load, spec_of
from reasoner.strategy import StopRule, Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import varied
from reasoner.types import SamplingParams
from tests.contracts.test_strategies import NAMES, QUESTION, has_params, judge_for, made

pytestmark = pytest.mark.parametrize("name", NAMES)


def _options(name: str) -> dict[str, Any]:
    """Its own options and, where it draws samples itself, those of the sampling, each with its type."""
    own = _own(name)
    drawing = typing.get_type_hints(SamplingParams) if has_params(name) else {}
    drawn = {
        _written(name, option): hint
        for option, hint in drawing.items()
        if (name, option) not in REFUSED
    }
    return own | drawn


def _own(name: str) -> dict[str, Any]:
    cls = load("strategy", name)
    hints = typing.get_type_hints(cls)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(cls)
        if field.init and field.name != "params"
    }


def _written(name: str, option: str) -> str:
    """A sampling option as it is set where the strategy may have one of its own of that name."""
    return f"params.{option}" if option in _own(name) else option


RULE = "stop=beta"
CALIBRATED = f"profile={Path(__file__).with_name('profile.json')}"
COMPANY = {
    ("best_of_n", "softmax_temperature"): "selector=softmax",
    ("best_of_n", "power"): "selector=borda",
    ("self_consistency", "window"): RULE,
    ("self_consistency", "order"): RULE,
    ("budget_forcing", "wait"): "waits=1",
    ("code_interpreter", "calls"): "mode=interleaved",
    ("auto", "task"): CALIBRATED,
    ("auto", "abstain_below"): CALIBRATED,
    ("auto", "abstain_risk"): CALIBRATED,
}
"""What an option needs beside it to have an effect."""
VALUES = {
    ("auto", "profile"): CALIBRATED.partition("=")[2],
    ("auto", "task"): "sums",
    ("escalate", "first"): "low",
}
"""Texts that only certain values fit."""
REFUSED = {
    ("budget_forcing", "thinking"),
    ("budget_forcing", "json_schema"),
    ("code_interpreter", "json_schema"),
}
"""Sampling options that contradict what the strategy does."""


SAMPLING = {
    "temperature": "0.25",
    "max_tokens": "31",
    "top_p": "0.5",
    "top_k": "11",
    "min_p": "0.125",
    "stop": "[@@,##]",
    "stop_token_ids": "[3,4]",
    "logprobs": "3",
    "presence_penalty": "0.5",
    "frequency_penalty": "0.25",
    "repetition_penalty": "1.25",
    "logit_bias": "[[7,-1.5]]",
    "bad_words": "[no,never]",
    "thinking": "none",
    "stop_in_thinking": "true",
    "json_schema": '{"type":"object"}',
}


def _literals(hint: Any) -> tuple[object, ...]:
    """The values that a hint lists, also where there need be none."""
    parts = (hint, *typing.get_args(hint))
    return next(
        (
            typing.get_args(part)
            for part in parts
            if typing.get_origin(part) is typing.Literal
        ),
        (),
    )


def _other_values(name: str, option: str, hint: Any, default: object) -> Iterator[str]:
    """Values of the option that are not its default."""
    if (name, option) in VALUES:
        yield VALUES[name, option]
    elif option.removeprefix("params.") in SAMPLING and hint != StopRule | None:
        yield SAMPLING[option.removeprefix("params.")]
    elif values := _literals(hint):
        yield from (str(value) for value in values if value != default)
    elif hint is bool:
        yield str(not default)
    elif hint in (int, int | None):
        yield from (str(value) for value in (2, 3) if value != default)
    elif hint is float:
        yield str(float(default) / 2 if isinstance(default, float) and default else 0.5)
    elif hint is str:
        yield '" First, then"'
    elif hint == tuple[str, ...]:
        yield "[What is 1 + 1?,2]"
    elif hint == Strategy | None:
        yield "single(max_tokens=31,stop=a)"
    elif hint == StopRule | None:
        yield "lock_in:delta=0.25"
        yield "first_of([lossless,beta:theta=0.9])"
    else:
        pytest.fail(f"option {option} has a type that this suite cannot vary: {hint}")


def test_every_option_is_taken_kept_and_written_again(name: str) -> None:
    plain = build("strategy", name)
    assert build("strategy", spec_of(plain)) == plain
    for option, hint in _options(name).items():
        beside = COMPANY.get((name, option), "")
        without = build("strategy", f"{name}:{beside}")
        for value in _other_values(name, option, hint, getattr(plain, option, None)):
            changed = build("strategy", f"{name}:{option}={value},{beside}")
            assert changed != without, option
            assert option in spec_of(changed)
            assert build("strategy", spec_of(changed)) == changed


def test_every_sampling_option_reaches_the_engine(name: str) -> None:
    if not has_params(name):
        pytest.skip("it draws no samples itself")
    for option, value in SAMPLING.items():
        if (name, option) in REFUSED:
            with pytest.raises(UsageError, match=f"{option}.* contradicts"):
                made(name, f"{option}={value}")
            continue
        seen: list[SampleRequest] = []
        strategy = made(name, f"{_written(name, option)}={value}")

        def script(request: SampleRequest, seen: list[SampleRequest] = seen) -> str:
            seen.append(request)
            return varied(request)

        solve_sync(
            QUESTION, strategy, ScriptedEngine(script), verifier=judge_for(strategy)
        )
        wanted = getattr(getattr(strategy, "params"), option)  # noqa: B009
        assert wanted != getattr(SamplingParams(), option), option
        # Prompts of another wording ask for a judgement, not for a chain; what is watched weighs a text and draws none.
        asked = (
            seen[0].prompt.messages
            if name == "code_interpreter"
            else QUESTION.prompt.messages
        )
        chains = [
            each for each in seen if each.prompt.messages == asked and not each.watch
        ]
        sent = [getattr(each.params, option) for each in chains]
        assert sent
        if option in {"stop", "stop_token_ids"}:
            assert all(set(wanted) <= set(stops) for stops in sent)
        elif option == "max_tokens":
            assert max(sent) <= wanted
        elif option == "logprobs":
            assert min(sent) >= wanted
        else:
            assert set(sent) == {wanted}, option


UNSEEN = {
    "window": "how many are in flight changes neither answer nor cost",
    "concurrency": "how many are in flight changes neither answer nor cost",
    "reserve": "it is for the end of a budget",
}
"""Options whose effect a run without a budget and without a clock cannot show, and why."""
UNSEEN_OF = {
    ("best_of_n", "candidates"): "it is for questions with options",
    ("auto", "task"): "the profile of this suite has one task",
    ("auto", "abstain_below"): "it needs a confidence that is below it",
    ("auto", "abstain_risk"): "it needs a share that is below the least one",
    ("code_interpreter", "calls"): "these replies hold no code",
    ("code_interpreter", "timeout"): "these replies hold no code",
}
TELLING = {
    ("budget_forcing", "min_thinking"): "900",
    ("tree_of_thoughts", "v_th"): "60",
}
"""Values that change the course, where those next to the default may not."""


def _course(strategy: Strategy, seed: int) -> object:
    """All that can be seen of a run on long, unsure replies that differ: what was asked for, and what came of it."""
    asked: list[object] = []

    def script(request: SampleRequest) -> str:
        asked.append((request.prompt.digest, request.params, request.index))
        source = random.Random(request.seed)
        steps = "".join(
            f"{'so it goes ' * source.randint(3, 19)}\n\n"
            for _ in range(source.randint(0, 7))
        )
        verdict = source.choice(
            (
                "Verdict: wrong",
                "Verdict: likely",
                "Better: A",
                "Better: B",
                "Best: 1",
                "Best: 2",
            )
        )
        answer = source.choice((7, 7, 7, 8, 9))
        scores = f"Score A: {source.randint(1, 10)}\nScore B: {source.randint(1, 10)}"
        return f"{steps}{verdict}\n{scores}\nThe answer is {answer}"

    def sure(request: SampleRequest) -> list[float]:
        source = random.Random(request.seed)
        return [source.uniform(0.1, 0.9) for _ in range(11)]

    solution = solve_sync(
        QUESTION,
        strategy,
        ScriptedEngine(script, sure),
        verifier=judge_for(strategy),
        seed=seed,
    )
    return sorted(map(repr, asked)), solution.answer, solution.vote_state


@pytest.mark.slow
def test_every_option_has_an_effect_where_the_others_are_at_their_defaults(
    name: str,
) -> None:
    """An option that is accepted and changes nothing is a trap."""
    idle = []
    course = functools.cache(lambda spec, seed: _course(build("strategy", spec), seed))
    for option, hint in _own(name).items():
        if option in UNSEEN or (name, option) in UNSEEN_OF:
            continue
        beside = COMPANY.get((name, option), "")
        default = build("strategy", f"{name}:{beside}")
        values = [*_other_values(name, option, hint, getattr(default, option))]
        values += [TELLING[name, option]] if (name, option) in TELLING else []
        if not any(
            course(f"{name}:{option}={value},{beside}", seed)
            != course(f"{name}:{beside}", seed)
            for seed in range(3)
            for value in values
        ):
            idle.append(f"{option}={values}")
    assert not idle, "\n".join(idle)
