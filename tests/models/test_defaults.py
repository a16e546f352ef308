"""Sampling parameters that are not given: where they come from, and that every strategy gets them."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UsageError
from reasoner.models.defaults import (
    THINKING_MAX_TOKENS,
    limits_of,
    resolve,
    resolved_params,
    sampling_of,
)
from reasoner.models.info import ModelInfo
from reasoner.models.thinking import ThinkingProfile
from reasoner.registry import build, entries, spec_of
from reasoner.stopping.rules import LockIn
from reasoner.types import FALLBACK, SamplingParams, ThinkingLevel, thinking_level
from reasoner_strategies import BestOfN, Refine, SelfConsistency, Single

LEVELS = {level: {"reasoning_effort": level} for level in ("low", "medium", "high")}
PROFILE = ThinkingProfile(
    "on_request", (1,), (2,), "<think>", "</think>", "</think>\n", levels=LEVELS
)
PLAIN = ModelInfo("plain")
THINKS = ModelInfo(
    "thinker",
    thinking=PROFILE,
    sampling=SamplingParams(temperature=0.6, top_p=0.95, top_k=20),
)
SERVED = ModelInfo("served", served=True)
NUMBERS = [
    each.name
    for each in fields(SamplingParams)
    if getattr(FALLBACK, each.name) not in (None, (), False)
]
GREEDY = SamplingParams(temperature=0.0)
CALIBRATED = Path(__file__).parents[1] / "contracts" / "profile.json"

some_params = st.builds(
    SamplingParams,
    temperature=st.none() | st.floats(0.1, 2),
    max_tokens=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.1, 1),
    top_k=st.none() | st.integers(0, 9),
    min_p=st.none() | st.floats(0, 1),
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    repetition_penalty=st.none() | st.floats(0.5, 2),
)


def quiet(line: str) -> None:
    raise AssertionError(f"nothing is noted here: {line}")


def first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


@given(asked=some_params, model=some_params, preferred=some_params)
def test_each_parameter_is_given_or_the_models_or_preferred_or_the_fallback(
    asked: SamplingParams, model: SamplingParams, preferred: SamplingParams
) -> None:
    served = resolved_params(asked, replace(SERVED, sampling=model), quiet, preferred)
    resolved = resolved_params(asked, replace(PLAIN, sampling=model), quiet, preferred)
    for name in NUMBERS:
        stated = first(*(getattr(source, name) for source in (asked, model, preferred)))
        assert getattr(resolved, name) == first(stated, getattr(FALLBACK, name))
        # A server has values of its own; only a limit is needed here.
        assert getattr(served, name) == (
            first(stated, FALLBACK.max_tokens) if name == "max_tokens" else stated
        )
    assert (
        resolved_params(resolved, replace(PLAIN, sampling=model), quiet, preferred)
        is resolved
    )


@pytest.mark.parametrize(
    ("asked", "model", "temperature", "max_tokens", "notes"),
    [
        (
            SamplingParams(),
            replace(PLAIN, sampling=SamplingParams(temperature=0.9)),
            0.0,
            512,
            0,
        ),
        (SamplingParams(temperature=0.3), THINKS, 0.3, THINKING_MAX_TOKENS, 0),
        (SamplingParams(), THINKS, 0.6, THINKING_MAX_TOKENS, 1),
        (SamplingParams(temperature=0), THINKS, 0.0, THINKING_MAX_TOKENS, 1),
        (SamplingParams(thinking="none"), THINKS, 0.0, 512, 0),
    ],
)
def test_a_preference_for_greedy_decoding_holds_unless_the_model_thinks(
    asked: SamplingParams,
    model: ModelInfo,
    temperature: float,
    max_tokens: int,
    notes: int,
) -> None:
    said: list[str] = []
    resolved = resolved_params(asked, model, said.append, GREEDY)
    assert (resolved.temperature, resolved.max_tokens, len(said)) == (
        temperature,
        max_tokens,
        notes,
    )


@pytest.mark.parametrize("level", ["low", "high", 512])
def test_a_level_is_refused_where_the_model_does_not_think_and_noted_where_nobody_knows(
    level: ThinkingLevel,
) -> None:
    with pytest.raises(
        UsageError,
        match=f"thinking={level} has no effect: plain does not think; leave thinking out",
    ):
        resolved_params(SamplingParams(thinking=level), PLAIN, quiet)
    said: list[str] = []
    assert (
        resolved_params(SamplingParams(thinking=level), SERVED, said.append).thinking
        == level
    )
    assert "the server does not say whether served thinks" in said[0]
    assert (
        resolved_params(SamplingParams(thinking="none"), PLAIN, quiet).thinking
        == "none"
    )


@pytest.mark.parametrize("name", sorted(entries("strategy")))
@pytest.mark.parametrize("model", [PLAIN, THINKS])
def test_every_strategy_is_resolved_and_written_as_it_was_given(
    name: str, model: ModelInfo
) -> None:
    strategy = build("strategy", name)
    spec = spec_of(strategy)
    resolved = resolve(strategy, model, lambda _: None)
    assert spec_of(strategy) == spec
    assert type(resolved) is type(strategy)
    if not hasattr(strategy, "params"):
        return
    params = resolved.params
    assert not [each for each in NUMBERS if getattr(params, each) is None]
    assert resolve(resolved, model, lambda _: None) == resolved
    assert build("strategy", spec_of(resolved)) == resolved


def test_preferences_are_those_of_the_strategy_that_holds_the_parameters() -> None:
    nested = resolve(BestOfN(n=2, of=Refine(rounds=1)), PLAIN, quiet)
    assert (nested.params.temperature, nested.of.params.temperature) == (0.8, 0.7)  # type: ignore[union-attr]
    votes = resolve(
        SelfConsistency(of=Single(SamplingParams(max_tokens=9)), stop=None),
        PLAIN,
        quiet,
    )
    assert votes.of == Single(replace(FALLBACK, temperature=0.0, max_tokens=9))
    rule = LockIn()
    assert resolve(SelfConsistency(stop=rule), PLAIN, quiet).stop is rule
    assert set(limits_of(votes)) == {512, 9}


def test_what_a_strategy_made_of_its_parameters_is_resolved_too() -> None:
    for spec in ("auto", f"auto:profile={CALIBRATED}"):
        resolved = resolve(build("strategy", spec), THINKS, lambda _: None)
        arms = [arm.strategy for arm in resolved._arms]
        assert all(arm.params.top_k == 20 for arm in arms if hasattr(arm, "params"))
        assert resolved._sampling.top_k == 20


def test_a_foreign_generation_config_sets_what_it_may() -> None:
    config = {
        "temperature": 0.6,
        "top_k": -1,
        "top_p": 0.95,
        "repetition_penalty": float("nan"),
        "stop": 3,
        "min_p": "x",
    }
    assert sampling_of(config) == SamplingParams(temperature=0.6, top_p=0.95)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "level"),
    [("none", "none"), (" High ", "high"), ("512", 512), ("2k", 2000), ("2K", 2000)],
)
def test_a_level_is_read_as_it_is_written(text: str, level: ThinkingLevel) -> None:
    assert thinking_level(text) == SamplingParams(thinking=text).thinking == level  # type: ignore[arg-type]
