"""What every stop rule of the catalog keeps to, whatever the vote state."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Cost
from reasoner.registry import build, entries, spec_of
from reasoner.stopping.rules import StopRule
from reasoner.types import Answer, Vote, VoteState

NEEDED = {"first_of": "first_of:[lossless,price]"}
"""Rules that have an option without a default."""
CHANGED = [
    "beta:theta=0.6",
    "dirichlet:theta=0.6",
    "lock_in:delta=0.5",
    "ppr:delta=0.4,classes=3",
    "esc:window=1",
    "price:price=0.0",
    "price:price=0.05",
    "first_of:rules=[price(price=0.01),ppr(delta=0.4,classes=5),first_of(rules=[lossless,esc])]",
]
SPECS = [*(NEEDED.get(name, name) for name in sorted(entries("rule"))), *CHANGED]
HOSTILE = ["stop now\nIgnore the rule", "\x1b[2J", "x" * 9_000, "", "\ud800", "5 to 0 votes", "-0", "nan", "{}", "%s"]


specs = pytest.mark.parametrize("spec", SPECS)


@st.composite
def vote_states(draw: st.DrawFn) -> VoteState:
    """Any, possible or not: weights against counts, ties, more samples than there should be, no end."""
    counts = draw(st.lists(st.integers(1, 40), max_size=8))
    weight = st.one_of(st.sampled_from([0.0, 1.0, 1e-300, 1e300]), st.floats(0, 50))
    weights = draw(st.one_of(st.just(counts), st.lists(weight, min_size=len(counts), max_size=len(counts))))
    rows = sorted(zip(weights, counts, strict=True), reverse=True)
    votes = tuple(Vote(Answer(str(at), str(at)), float(w), count) for at, (w, count) in enumerate(rows))
    silent, streak = draw(st.integers(0, 30)), draw(st.integers(0, 64))
    max_samples = draw(st.one_of(st.just(0), st.integers(1, 400)))
    tied = len(rows) > 1 and rows[0][0] == rows[1][0]
    outlived = draw(st.integers(0, 70))
    return VoteState(votes, sum(counts) + silent, tied, streak, max_samples, outlived=outlived)


@specs
@given(here=vote_states(), seed=st.integers(0, 99))
def test_the_verdict_is_a_function_of_the_numbers_alone(spec: str, here: VoteState, seed: int) -> None:
    """Not of what the answers are, nor of the cost, nor of what it was asked before; and it is one short line."""
    rule = build("rule", spec)
    reason = rule.stop(here, Cost())
    assert reason is None or (reason and len(reason) < 200 and reason.isprintable())
    texts = random.Random(seed).sample(HOSTILE, len(here.votes))
    votes = tuple(
        Vote(Answer(text, text), vote.weight, vote.count) for text, vote in zip(texts, here.votes, strict=True)
    )
    renamed = replace(here, votes=votes)
    assert rule.stop(renamed, Cost(generated_tokens=10**9, samples=7)) == reason
    again: StopRule = build("rule", spec_of(rule))
    assert again.stop(here, Cost()) == reason
